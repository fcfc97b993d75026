"""The suite of clips on the command line: a table for people, a line of JSON for programs."""

import json
from itertools import islice
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import sharpv
from sharpv.bench import agreement
from sharpv.bench.contest import CONTESTANTS, choose_contest
from sharpv.cli.agreement import evaluate_clips
from sharpv.cli.app import app
from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import write_clip

QUESTION = "Does the scene change?"
CONTEST = choose_contest(["sharpv"], (0.25,))


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    paths = []
    for sample in islice(iterate("test", frames=4), 2):
        paths.append(folder / f"{sample.name}.mp4")
        write_clip(sample, render_clip(sample.scene), paths[-1])
    return paths


def test_the_table_and_then_the_same_from_the_records(files, tmp_path, capsys):
    evaluate_clips(files, CONTEST, [QUESTION], frames=4, out=tmp_path)
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert lines[0] == "toy:default: 2 clips, 1 questions about each"
    assert lines[2].split() == [
        "condition",
        "tokens",
        "%",
        "layers",
        "%",
        "KL,",
        "nats",
        "per",
        "token",
        "agreement",
        "%",
        "n",
    ]
    rows = [line.split() for line in lines[4:8]]
    assert [row[0] for row in rows] == ["dense", "random@25%", "uniform@25%", "sharpv@25%"]
    assert rows[0][1:5] == ["100.0", "100.0", "0.000", "(0.000-0.000)"]
    assert "s each" in shown.err
    evaluate_clips(files, CONTEST, [QUESTION], frames=4, out=tmp_path, json=True)
    again = capsys.readouterr()
    assert again.out.count("\n") == 1
    assert "s each" not in again.err
    summary = json.loads(again.out)
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    for row, found in zip(rows, summary["conditions"].values(), strict=True):
        kl, share = found["kl"], found["agreement"]
        shares = [found["cost"][name]["mean"] for name in ("kept_share", "layer_share")]
        assert row[1:3] == [f"{100 * share:.1f}" for share in shares]
        assert row[3:5] == [f"{kl['mean']:.3f}", f"({kl['low']:.3f}-{kl['high']:.3f})"]
        assert row[5] == f"{100 * share['value']:.1f}"
        assert row[7] == str(share["n"]) == str(summary["tokens"])


def test_the_table_of_one_clip_has_no_interval_of_the_divergence(files, capsys):
    evaluate_clips(files[:1], CONTEST[:1], [QUESTION], frames=4)
    row = capsys.readouterr().out.splitlines()[4].split()
    assert row[:5] == ["dense", "100.0", "100.0", "0.000", "100.0"]


def test_the_toy_is_asked_a_question_of_each_family(files, monkeypatch):
    asked = []
    monkeypatch.setattr(
        agreement, "run", lambda loaded, clips, spec, *args, **given: asked.append(spec) or {}
    )
    evaluate_clips(files, CONTEST, json=True)
    assert len(asked[0].questions) == 12


def test_a_bad_clip_is_named_before_a_model_is_loaded(files, tmp_path, capsys):
    with pytest.raises(sharpv.VideoError, match=r"gone\.mp4"):
        evaluate_clips([*files, tmp_path / "gone.mp4"], CONTEST)
    assert "loading" not in capsys.readouterr().err


def test_wrong_options_are_usage_errors(files):
    with pytest.raises(typer.BadParameter, match="questions are"):
        evaluate_clips(files, CONTEST, [QUESTION, QUESTION])
    with pytest.raises(typer.BadParameter, match="give one or more video files"):
        evaluate_clips([], CONTEST)


def test_an_interrupted_run_says_how_to_go_on(files, tmp_path, monkeypatch, capsys):
    def interrupt(*args, **given):
        raise KeyboardInterrupt

    monkeypatch.setattr(agreement, "attach", interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate_clips(files, CONTEST, [QUESTION], out=tmp_path)
    assert "the same command goes on from there" in capsys.readouterr().err


def test_all_methods_but_those_that_cannot_take_part(files):
    result = CliRunner().invoke(
        app,
        ["eval", *map(str, files[:1]), "--suite", "clips", "--question", QUESTION, "--frames", "2", "--json"],
    )
    assert result.exit_code == 0, result.output
    contestants = {found["contestant"] for found in json.loads(result.stdout)["conditions"].values()}
    assert contestants == {None, *CONTESTANTS} - {"fastv"}
    assert "without fastv: it chooses by the prompt's last token" in " ".join(result.stderr.split())
