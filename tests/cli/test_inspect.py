"""`sharpv inspect`: the files say what the run kept, each method its own, and nothing is lost on the way."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sharpv
from sharpv.cli.inspect import _command
from sharpv.hf.ask import build_inputs, load_model
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.report import Report
from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import write_clip
from sharpv.video import Sampling, read_video, write_video
from tests.cli.asking import SHORT, ask, refuse, run

FILES = ("report.html", "strip.png", "overlay.mp4", "layers.svg", "budget.png")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A clip of the toy's world."""
    path = tmp_path_factory.mktemp("made") / "made.mp4"
    sample = next(iterate("test", frames=12))
    write_clip(sample, render_clip(sample.scene), path)
    return path


def inspect(video: object, *options: object) -> dict:
    """Inspects with `--json`; returns what stdout holds, which must be one line of JSON."""
    result = run("inspect", video, *options, "--json")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def masks(found: dict) -> dict[str, np.ndarray]:
    """What each method let through to the last layer, by its name."""
    videos = {run["method"]: run["report"]["videos"][0] for run in found["runs"]}
    return {name: np.array(video["kept_inside"] or video["kept"]) for name, video in videos.items()}


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_it_keeps_what_ask_keeps_and_says_what_ask_says(clip, model_folder, family):
    options = ("-m", model_folder(family), "--retention", 0.25, "--frames", 7, *SHORT)
    found = inspect(clip, "-q", "What moves?", *options)
    asked = ask(clip, model_folder(family), "--retention", 0.25, "--frames", 7)
    dense = ask(clip, model_folder(family), "--dense", "--frames", 7)
    (run_,) = found["runs"]
    report = Report.from_dict(run_["report"])
    assert report.videos == Report.from_dict(asked["report"]).videos
    assert report.layers == Report.from_dict(asked["report"]).layers
    assert (run_["answer"], found["dense_answer"]) == (asked["answer"], dense["answer"])
    assert found["timestamps"] == asked["video"]["timestamps"]
    # The clip was encoded once for all runs: none of them can say how long that took.
    assert report.milliseconds.vision is None
    assert report.milliseconds.prefill is not None


@pytest.mark.parametrize("audit", [0, 2])
def test_with_vision_reuse_it_shows_what_a_request_with_it_does(made, tmp_path, audit):
    config = tmp_path / "config.yaml"
    config.write_text(f"vision_reuse: {{threshold: 12, audit: {audit}}}\n")
    found = inspect(
        made, "-q", "What moves?", "--config", config, "--methods", "sharpv,evs", "--retention", 0.25
    )
    asked, dense = (
        ask(made, "toy:default", "--config", config, "--retention", 0.25),
        ask(made, "toy:default", "--dense"),
    )
    report, evs = (Report.from_dict(run_["report"]) for run_ in found["runs"])
    expected = Report.from_dict(asked["report"])
    assert found["dense_answer"] == dense["answer"]
    assert found["runs"][0]["answer"] == asked["answer"]
    assert report.config == expected.config
    (mine,), (theirs,) = report.videos, expected.videos
    timed = replace(mine.reuse, plan_milliseconds=theirs.reuse.plan_milliseconds)
    assert replace(mine, reuse=timed) == theirs
    assert evs.videos[0].reuse.computed == mine.reuse.computed
    # T is exactly 0 where nothing was encoded again, which dense features do not have.
    assert (
        mine.ratios
        != Report.from_dict(ask(made, "toy:default", "--retention", 0.25)["report"]).videos[0].ratios
    )


def test_without_a_question_nothing_is_said_and_the_layers_are_looked_at(made):
    found = inspect(made)
    (run_,) = found["runs"]
    assert found["dense_answer"] is found["question"] is run_["answer"] is None
    assert (found["model"], found["frames"], found["total_frames"]) == ("toy:default", 8, 12)
    assert [layer["layer"] for layer in run_["report"]["layers"]] == list(range(6))
    assert any("toy" in note for note in found["notes"])


def test_methods_see_the_same_features_and_keep_their_own(made):
    names = ["sharpv", "vidcom2", "visionzip", "holitom", "fastv", "random"]
    found = inspect(made, "--methods", ",".join(names), "--retention", 0.125, "--coverage", 0.5)
    kept = masks(found)
    assert list(kept) == names
    assert {name: mask.sum() for name, mask in kept.items()} == dict.fromkeys(names, 8 * 8)
    assert len({mask.tobytes() for mask in kept.values()}) == len(names)
    loaded, video = load_model(), read_video(made, Sampling(frames=8))
    inputs = build_inputs(loaded.processor, video, "Describe the video.")
    inputs = inputs.to(loaded.model.device, loaded.model.dtype)
    with torch.no_grad():
        encoded, _ = encode_video(loaded.model.base_model, FAMILIES["llava_onevision"], inputs)
    features = flatten(encoded, 8 * 64 + 1)[: 8 * 64].view(8, 64, -1)
    config = sharpv.SharpVConfig(retention=0.125, coverage=0.5)
    assert np.array_equal(kept["sharpv"], sharpv.keep_mask(features, config).numpy())
    configs = {run_["method"]: run_["report"]["config"]["coverage"] for run_ in found["runs"]}
    assert configs == {name: 0.5 if name == "sharpv" else 0.0 for name in names}


@pytest.fixture(scope="module")
def written(made, tmp_path_factory) -> tuple[dict, Path]:
    """What `--json` says, and the folder of the files, of one run."""
    folder = tmp_path_factory.mktemp("files")
    outputs = [part for name in FILES for part in ("-o", folder / name)]
    result = run("inspect", made, "--retention", 0.25, *outputs, "--json")
    assert [line.split()[0] for line in result.stderr.splitlines()].count("writing") == len(FILES)
    return json.loads(result.stdout), folder


def test_every_kind_of_file_is_written_and_opens(written):
    found, folder = written
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    page = (folder / "report.html").read_text()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "made.mp4" in page
    for name in ("strip.png", "budget.png"):
        with Image.open(folder / name) as picture:
            picture.load()
            assert min(picture.size) > 200
    assert (folder / "layers.svg").read_text().count("<svg") == 1
    movie = read_video(folder / "overlay.mp4", Sampling.all())
    assert movie.total_frames == found["frames"] == 8


def test_a_film_of_all_frames_has_those_of_the_clip(made, tmp_path):
    run("inspect", made, "--frames", 5, "-o", tmp_path / "all.mp4", "--all-frames")
    assert read_video(tmp_path / "all.mp4").total_frames == 12


def test_in_a_terminal_it_shows_figures_and_frames(made):
    shown = run("inspect", made, "--methods", "sharpv,fastv", "--retention", 0.25).stdout
    figures = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert figures["all"][:2] == ["512", "100.0"]
    assert figures["sharpv"][:2] == figures["fastv"][:2] == ["128", "25.0"]
    assert "all tokens enter the LLM" in shown
    pictures = shown.split("# is kept, . is dropped:")[1:]
    assert [picture.count("#") for picture in pictures] == [128, 128]


def test_with_files_the_terminal_shows_figures_only(made, tmp_path):
    shown = run("inspect", made, "-o", tmp_path / "strip.jpg").stdout
    assert "sharpv" in shown
    assert "#" not in shown


def test_an_answer_keeps_its_control_characters_off_the_terminal(made):
    shown = run("inspect", made, "-q", "Does the \x1b[31mscene change?", *SHORT)
    assert "\x1b" not in shown.stdout


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-o", "notes.txt"), "does not say what to write"),
        (("-o", "plot.svg"), "layers*.svg"),
        (("-o", "a.png", "-o", "a.png"), "names a file twice"),
        (("--all-frames", "-o", "a.png"), "give -o overlay.mp4"),
        (("--methods", " , "), "names no method"),
        (("-q", " "), "asks nothing"),
        (("-o", "budget.jpg"), "does not say what to write"),
        (("--spatial-weight", "-1"), "spatial_weight is -1.0"),
        (("--min-tokens-per-frame", "-1"), "min_tokens_per_frame is -1"),
        (("--retention", "0.5", "--threshold", "1"), "set one of the two"),
    ],
)
def test_wrong_usage_is_refused_before_any_work(made, options, reason):
    result = run("inspect", made, *options, ok=2)
    assert reason in " ".join(result.stderr.replace("│", " ").split())
    assert "reading" not in result.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("-o", "no/such/folder/a.html"), "there is no folder 'no/such/folder'"),
        (("--methods", "sharpv,tomato"), "must be one of sharpv,"),
        (("--methods", "random"), "needs to know how many tokens to keep"),
        (("--methods", "random", "--threshold", "1"), "needs to know how many tokens to keep"),
        (("-m", "no/such/model/at/all"), "cannot find a model"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_remedy(made, options, reason):
    assert reason in refuse("inspect", made, *options)


def test_the_clip_itself_is_not_written_over(clip):
    before = clip.read_bytes()
    assert "it is the clip, which would be gone" in refuse("inspect", clip, "-o", clip)
    assert clip.read_bytes() == before


def test_the_settings_of_sharpv_alone_need_sharpv(made):
    error = refuse("inspect", made, "--methods", "random,uniform", "--retention", 0.5, "--coverage", 0.5)
    assert "coverage would have no effect" in error


def test_wrong_methods_are_found_before_the_clip_is_read(made):
    assert "reading" not in run("inspect", made, "--methods", "sharpv,tomato", ok=1).stderr


def test_a_plot_may_be_named_in_capitals(made, tmp_path):
    run("inspect", made, "-o", tmp_path / "LAYERS.SVG")
    assert "<svg" in (tmp_path / "LAYERS.SVG").read_text()


def test_what_cannot_be_finished_leaves_what_was_there(made, tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sharpv.viz.page.page", fails)
    (tmp_path / "a.html").write_text("old")
    error = refuse("inspect", made, "-o", tmp_path / "a.html")
    assert "cannot write" in error
    assert "No space left on device" in error
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize(
    ("video", "options", "command"),
    [
        ("a b.mp4", {}, ("sharpv", "inspect", "a b.mp4")),
        ("-x.mp4", {"-m": None}, ("sharpv", "inspect", "./-x.mp4")),
        (
            "clip.mp4",
            {"--frames": 8, "-q": "it's?"},
            ("sharpv", "inspect", "clip.mp4", "--frames", "8", "-q", "it's?"),
        ),
        ("https://me:secret@host:1/a/b.mp4?key=secret", {}, ("sharpv", "inspect", "https://host:1/a/b.mp4")),
        ("data:video/mp4;base64,AAAA", {}, ("sharpv", "inspect", "VIDEO")),
    ],
)
def test_the_command_says_what_was_looked_at_and_no_secrets(video, options, command):
    assert _command(video, options) == (*command, "-o", "report.html")


def test_the_command_on_the_page_makes_the_page_again(made, tmp_path):
    options = ("-q", "Does it move?", "--frames", 5, "--methods", "sharpv,random", "--dtype", "float32")
    run("inspect", made, *options, "--retention", 0.25, *SHORT, "-o", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    record = json.loads(text.split('id="record">')[1].split("</script>")[0])
    words = shlex.split(record["command"])
    assert words[:3] == ["sharpv", "inspect", str(made)]
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert given == {
        "-q": "Does it move?",
        "--frames": "5",
        "--methods": "sharpv,random",
        "--dtype": "float32",
        "--max-new-tokens": "2",
        "-o": "report.html",
    }


def test_a_clip_that_cannot_be_read(tmp_path):
    (tmp_path / "notes.mp4").write_text("no video")
    assert "notes.mp4" in refuse("inspect", tmp_path / "notes.mp4", "-o", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_a_file_that_cannot_be_written(made, tmp_path):
    (tmp_path / "folder.html").mkdir()
    assert "cannot write" in run("inspect", made, "-o", tmp_path / "folder.html", ok=1).stderr


@pytest.mark.parametrize("frames", [1, 3])
def test_clips_of_few_frames(tmp_path, model_folder, frames):
    write_video(np.full((frames, 64, 96, 3), 90, np.uint8), tmp_path / "short.mp4")
    outputs = [part for name in FILES for part in ("-o", tmp_path / name)]
    found = inspect(tmp_path / "short.mp4", "-m", model_folder("qwen2_5_vl"), *outputs)
    assert found["frames"] == frames
    assert read_video(tmp_path / "overlay.mp4").total_frames == frames


def test_every_real_clip_goes_through(real_clip, tmp_path):
    path, count = real_clip
    result = run("inspect", path, "-o", tmp_path / "report.html", "-o", tmp_path / "overlay.mp4", "--json")
    assert json.loads(result.stdout)["total_frames"] == count
    assert {"reading", "loading", "encoding", "looking", "writing"} <= set(result.stderr.split())
    assert (tmp_path / "report.html").stat().st_size < 6e6
    assert read_video(tmp_path / "overlay.mp4").total_frames == 8
