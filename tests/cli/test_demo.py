"""`sharpv demo`: honest counts, files that open, no colours where none belong, and clear refusals."""

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sharpv.cli import output
from sharpv.cli.app import app
from sharpv.cli.demo_run import Demo, Row, choose
from sharpv.cli.demo_show import pages
from sharpv.cli.output import Terminal
from sharpv.hf.ask import Answer
from sharpv.report import Report
from sharpv.shapesqa import FAMILIES, Question
from sharpv.shapesqa.files import MARK
from sharpv.shapesqa.questions import is_right
from sharpv.video import Video, read_video

COLOUR = re.compile(r"\x1b\[[\d;]*m")
GRID = re.compile(r"[#.][#. ]{63,}")
HALF = "\N{UPPER HALF BLOCK}"
FILES = ["clip.mp4", "kept.png", "report.json"]


def demo(*arguments: object, ok: int = 0):
    result = CliRunner().invoke(app, ["demo", *map(str, arguments)])
    assert result.exit_code == ok, result.output
    assert "Traceback" not in result.output
    return result


def in_a_terminal(columns: int, *command: str, **environment: str) -> str:
    """Runs a command with stdout on a terminal of its own, and returns what it shows there."""
    shown, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    known = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    known |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "OMP_NUM_THREADS": "1"} | environment
    process = subprocess.Popen(command, stdout=child, stderr=subprocess.DEVNULL, env=known)
    os.close(child)
    parts = []
    try:
        while part := os.read(shown, 65536):
            parts.append(part)
    except OSError:  # how a terminal says that its last writer has left
        pass
    os.close(shown)
    assert process.wait(timeout=240) == 0
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> tuple[dict, Path]:
    """What `--json` prints, and the folder of `--save`, of one run."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    result = demo("--json", "--save", folder)
    assert result.stdout.count("\n") == 1
    assert "Loading weights" not in result.stderr
    return json.loads(result.stdout), folder


def test_five_questions_of_five_families(saved):
    found, _ = saved
    families = [row["family"] for row in found["questions"]]
    assert len(set(families)) == 5
    assert {"direction", "scene_change", "caption"} < set(families)
    assert {"vanish", "order"} & set(families)
    for row in found["questions"]:
        options = FAMILIES[row["family"]]
        assert row["truth"] in options or not options
    assert (found["model"], found["seed"]) == ("toy:default", 0)
    assert "does not transfer" in found["note"]


def test_the_counts_are_those_of_the_reports(saved):
    for row in saved[0]["questions"]:
        dense, pruned = (Report.from_dict(row[name]["report"]) for name in ("dense", "pruned"))
        assert dense.tokens_kept == dense.tokens_total == pruned.tokens_total == 8 * 64
        assert 0 < pruned.tokens_kept < pruned.tokens_total
        assert dense.cache_bytes == dense.dense_cache_bytes == pruned.dense_cache_bytes
        assert pruned.cache_bytes < dense.cache_bytes
        for name, report in (("dense", dense), ("pruned", pruned)):
            untimed = [phase for phase, ms in row[name]["report"]["milliseconds"].items() if ms is None]
            assert untimed == (["scoring"] if name == "dense" else [])
            question = Question(row["family"], row["question"], row["truth"], FAMILIES[row["family"]])
            assert row[name]["right"] == is_right(question, row[name]["answer"])
            assert report.model == "llava_onevision"


def test_the_saved_files_are_whole(saved):
    found, folder = saved
    assert sorted(path.name for path in folder.iterdir()) == FILES
    assert json.loads((folder / "report.json").read_text()) == found
    video = read_video(folder / "clip.mp4")
    assert video.frames.shape == (8, 256, 256, 3)
    assert video.comment.startswith(MARK)
    with Image.open(folder / "kept.png") as picture:
        picture.load()
        assert picture.width > 4 * 256
        assert len(picture.getcolors(1 << 24)) > 100


@pytest.fixture(scope="module")
def shown(saved, tmp_path_factory):
    """A run for people, saved over an earlier demo, in a folder that holds something else, too."""
    folder = tmp_path_factory.mktemp("again") / "demo"
    shutil.copytree(saved[1], folder)
    (folder / "notes.txt").write_text("mine")
    return demo("--save", folder, "--seed", 1), folder


def test_a_demo_may_be_saved_over_a_demo(shown):
    result, folder = shown
    assert json.loads((folder / "report.json").read_text())["seed"] == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted([*FILES, "notes.txt"])
    assert (folder / "notes.txt").read_text() == "mine"
    assert f"saved clip.mp4, report.json and kept.png in {folder}" in result.stderr


def test_the_toy_knows_the_clip_of_the_demo(shown):
    asked = CliRunner().invoke(app, ["ask", str(shown[1] / "clip.mp4"), "How many shapes move?"])
    assert asked.exit_code == 0
    assert "warning" not in asked.stderr


def test_off_a_terminal_it_shows_tables_and_letters_without_colours(shown):
    result, folder = shown
    assert "\x1b" not in result.output
    for text in ("question", "truth", "dense", "SharpV", "prefill, ms", "KV cache"):
        assert text in result.stdout
    assert "does not transfer" in " ".join(result.stdout.split())
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    kept = json.loads((folder / "report.json").read_text())["questions"][0]["pruned"]["report"]["tokens_kept"]
    grids = [line for line in lines if GRID.fullmatch(line)]
    assert len(grids) == 8
    assert "".join(grids).count("#") == kept
    labels = next(line for line in lines if line.startswith("1: "))
    assert sum(int(number) for number in re.findall(r": (\d+)", labels)) == kept
    assert f"kept: {kept} of 512 tokens" in result.stdout


def test_a_terminal_gets_a_picture_in_true_colour():
    shown = in_a_terminal(80, sys.executable, "-m", "sharpv.cli", "demo")
    assert HALF in shown
    assert "38;2;" in shown
    lines = COLOUR.sub("", shown).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(HALF * 16 in line for line in lines) == 16


@pytest.mark.parametrize(
    ("environment", "colours"),
    [
        ({}, True),
        ({"COLORTERM": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb", "COLORTERM": ""}, False),
        ({"TERM": "xterm", "COLORTERM": ""}, False),
    ],
    ids=["truecolor", "256", "no colour", "dumb", "16"],
)
def test_what_a_terminal_can_show(environment, colours):
    code = "from sharpv.cli import output; t = output.terminal(); output.show([repr(t)])"
    shown = in_a_terminal(80, sys.executable, "-c", code, **environment)
    assert shown == f"Terminal(width=80, colours={colours}, unicode=True)\n"


def test_without_colours_no_code_is_written():
    code = "from rich.text import Text; from sharpv.cli import output; output.show([Text('a', 'bold red')])"
    assert in_a_terminal(80, sys.executable, "-c", code) != "a\n"
    assert in_a_terminal(80, sys.executable, "-c", code, NO_COLOR="1") == "a\n"


def made_up(seed: int, saved: tuple[dict, Path]) -> Demo:
    """The demo of a seed, with two questions and answers that no model gave."""
    report = Report.from_dict(saved[0]["questions"][0]["pruned"]["report"])
    question = Question("direction", "Which way does the red shape move?", "up", FAMILIES["direction"])
    truth = Question("caption", "Describe the video.", "a red ring moves up. the scene stays.", ())
    rows = [Row(question, Answer("up", report), Answer("down", report))]
    rows.append(Row(truth, Answer(truth.answer, report), Answer("a red ring stays. a blue ring", report)))
    video = Video(np.zeros((8, 16, 16, 3), np.uint8), np.arange(8) / 4, np.arange(8), 8, 4.0, 2.0)
    return Demo(seed, choose(seed)[0], b"", video, "toy:default", tuple(rows))


def test_ascii_marks_still_tell_right_from_wrong(saved, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    made = made_up(0, saved)
    for encoding, good, bad in (("ascii", "ok", "WRONG: "), ("utf-8", "\N{CHECK MARK}", "\N{BALLOT X} ")):
        found = printed(pages(made, Terminal(100, False, encoding == "utf-8")), encoding).replace("|", " ")
        assert re.search(rf"move\? +up +{good} up +{bad}down *\n", found)
        assert re.search(r"video\. +2 of 2 facts +0 of 2 facts *\n", found)
        assert re.search(rf"red +ring moves up +{good} +{bad}ring stays *\n", found)
        assert re.search(rf"scene +stays +{good} +{bad}\(not said\) *\n", found)
        assert re.search(rf"blue +\(no such thing\) +{bad}ring *\n", found)


def test_the_title_says_whether_the_scene_changes(saved):
    titles = set()
    for seed in range(10):
        made = made_up(seed, saved)
        shown = " ".join(printed(pages(made, Terminal(80, False, False)), "ascii").split())
        (title,) = re.findall(r"(no scene change|scene change at frame \d+)\.", shown)
        cut = made.sample.scene.cut
        assert title == ("no scene change" if cut is None else f"scene change at frame {cut + 1}")
        titles.add(cut is None)
    assert titles == {True, False}


def printed(items: list, encoding: str) -> str:
    """What `output.show` writes to a stdout of an encoding."""
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    with contextlib.redirect_stdout(written):
        output.show(items)
    return written.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("seed", range(20))
def test_any_seed_gives_a_clip_with_movement_and_an_event(seed):
    sample, questions = choose(seed)
    assert any(shape.direction for shape in sample.scene.shapes)
    assert any(shape.first > 0 or shape.last < 7 for shape in sample.scene.shapes)
    assert len({question.family for question in questions}) == 5
    assert all(question in sample.questions for question in questions)


def test_some_clips_have_a_cut_and_some_have_none():
    answers = set()
    for seed in range(20):
        sample, questions = choose(seed)
        (answer,) = (question.answer for question in questions if question.family == "scene_change")
        assert answer == ("no" if sample.scene.cut is None else "yes")
        answers.add(answer)
    assert answers == {"yes", "no"}


@pytest.mark.parametrize("name", FILES)
def test_it_overwrites_nothing_that_it_did_not_make(tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = demo("--save", tmp_path, ok=1)
    assert re.search(rf"error: .*{name}' exists and is not of a demo: give another folder", result.stderr)
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("target", ["file", "file/inside", "/proc/no/such"])
def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, target):
    (tmp_path / "file").touch()
    result = demo("--save", tmp_path / target, ok=1)
    assert result.stderr.startswith("error: cannot write to ")
    assert "give a folder of yours with --save" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("--seed", "-1"), 2, "--seed"),
        (("--seed", str(2**32)), 2, "--seed"),
        (("--dtype", "int4"), 1, "auto, float32, bfloat16, float16"),
        (("--device", "cuda:99"), 1, "cannot use device 'cuda:99'"),
    ],
)
def test_wrong_options(arguments, code, reason):
    result = demo(*arguments, ok=code)
    assert reason in result.stderr
    assert result.stdout == ""
