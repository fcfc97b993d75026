"""`sharpv eval --suite lmms:TASK`: the commands it runs, and what it makes of their results."""

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from sharpv import InputError, SharpVConfig, SharpVError, UnsupportedModelError
from sharpv.cli.lmms import Column, columns
from sharpv.engines.lmms_eval.command import RESULTS, eval_command, read_results
from sharpv.engines.lmms_eval.settings import PREFIX, Settings
from tests.cli.asking import refuse, run


def model_args(command):
    text = command[command.index("--model_args") + 1]
    return dict(pair.split("=") for pair in text.split(","))


def test_the_settings_reach_the_plug_in(tmp_path):
    config = SharpVConfig(threshold=1.5, memory_threshold=None, vision_reuse="safe")
    command = eval_command("toy:default", "mvbench", config, frames=8, output=tmp_path, dtype="float32")
    given = model_args(command)
    assert (given["base"], given["max_frames_num"], given["dtype"]) == ("llava_hf", "8", "float32")
    options = {name.removeprefix(PREFIX): yaml.safe_load(given[name]) for name in given if PREFIX in name}
    assert Settings.from_options(options).config == config
    dense = eval_command("toy:default", "mvbench", None, frames=8, output=tmp_path, extra=["--limit", "4"])
    assert {name: value for name, value in model_args(dense).items() if name.startswith(PREFIX)} == {
        "sharpv_enabled": "False"
    }
    assert dense[-2:] == ["--limit", "4"]


def test_the_arguments_are_those_of_the_model(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl"}))
    config = SharpVConfig(retention=0.5)
    given = model_args(
        eval_command(str(tmp_path), "few", config, frames=8, output=tmp_path, method="vidcom2", batch_size=4)
    )
    assert (given["base"], given["num_frames"], given["sharpv_method"]) == ("internvl_hf", "8", "vidcom2")
    # It is shown a clip as images, and would prune nothing.
    assert given["sharpv_images_as_frames"] == "True"
    command = eval_command("toy:default", "few", None, frames=8, output=tmp_path, batch_size=4)
    assert command[command.index("--batch_size") + 1] == "4"


@pytest.mark.parametrize(
    ("kind", "given", "error", "named"),
    [
        ("smolvlm", {}, UnsupportedModelError, "type 'smolvlm': .* run with llava_onevision, .* or internvl"),
        ("qwen2_5_vl", {"dtype": "float32"}, InputError, "qwen2_5_vl chooses that itself, so leave it out"),
        (
            "qwen2_5_vl",
            {"extra": ["--limit", "4", "--model_args=a=b"]},
            InputError,
            "--model_args=a=b for lm",
        ),
        ("qwen2_5_vl", {"extra": ["--tasks", "b"]}, InputError, "got --tasks for lmms-eval, which sharpv ev"),
    ],
)
def test_what_lmms_eval_could_not_run_is_refused(tmp_path, kind, given, error, named):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(error, match=named):
        eval_command(str(tmp_path), "mvbench", None, frames=8, output=tmp_path, **given)


def test_a_path_that_lmms_eval_would_split_is_refused(tmp_path):
    with pytest.raises(InputError, match="a,b': lmms-eval would split it"):
        eval_command(str(tmp_path / "a,b"), "mvbench", None, frames=8, output=tmp_path)


def test_reuse_that_has_no_name_does_not_fit_into_model_args(tmp_path):
    config = SharpVConfig(vision_reuse={"threshold": 8})
    with pytest.raises(InputError, match=r"threshold': 8\.0\}: .*model_args take 'balanced' or 'safe' only"):
        eval_command("toy:default", "mvbench", config, frames=8, output=tmp_path)


def test_results_of_an_earlier_run_are_not_taken_for_those_of_a_failed_one(tmp_path):
    (tmp_path / "1_results.json").write_text(json.dumps({"results": {"few": {"accuracy,none": 0.5}}}))
    with pytest.raises(SharpVError, match=r"no 1_sharpv\.json beside lmms-eval's results"):
        read_results(tmp_path)
    (tmp_path / "1_sharpv.json").write_text("{}")
    assert read_results(tmp_path) == {"scores": {"few": {"accuracy": 0.5}}, "pruning": {}}
    with pytest.raises(SharpVError, match="left no results"):
        read_results(tmp_path, older=list(tmp_path.glob(RESULTS)))


def test_settings_make_one_run_beside_the_dense_one(tmp_path):
    (tmp_path / "config.yaml").write_text("coverage: 0.5\nretention: 0.5\n")
    given = {"config": tmp_path / "config.yaml", "retention": 0.25}
    assert columns(None, given) == [
        Column("dense"),
        Column("sharpv", SharpVConfig(retention=0.25, coverage=0.5)),
    ]
    assert columns(None, {"method": "vidcom2", "retention": 0.25})[1].method == "vidcom2"
    assert columns(None, {"threshold": 1.5})[1].config == SharpVConfig(threshold=1.5)
    named = columns(["sharpv-budget"], {"retention": 0.1})
    assert named == [Column("dense"), Column("sharpv-budget", SharpVConfig(retention=0.1))]


@pytest.mark.parametrize(
    ("suite", "options", "named"),
    [
        ("lmms:mvbench", ("--per-family", "2"), "--per-family would have no effect"),
        ("lmms:mvbench", ("--methods", "all"), "--methods would have no effect"),
        ("lmms:mvbench", ("--condition", "random"), "random: lmms-eval runs dense and those of sharpv only"),
        ("lmms:mvbench", ("--condition", "all"), "all: lmms-eval runs dense and those of sharpv only"),
        ("lmms:mvbench", ("--condition", "blind"), "blind: lmms-eval runs dense and those of sharpv only"),
        ("lmms:mvbench", ("--condition", "sharpv", "--retention", "0.1"), "--retention would have no effect"),
        ("lmms:mvbench", ("--condition", "sharpv", "--method", "evs"), "--method would have no effect with"),
        ("lmms:mvbench", ("--retention", "2"), "retention is 2.0: it must be 'adaptive' or a number in"),
        ("shapesqa", ("--limit", "2"), "--limit would have no effect: that goes with --suite lmms:TASK"),
        ("clips", ("--method", "evs"), "--method would have no effect: that goes with --suite lmms:TASK"),
    ],
)
def test_options_that_mean_nothing_are_refused(suite, options, named):
    said = " ".join(run("eval", "--suite", suite, *options, ok=2).output.replace("│", "").split())
    assert named in said


def test_a_method_that_cannot_follow_the_options_is_refused():
    assert "needs to know how many tokens to keep" in refuse(
        "eval", "--suite", "lmms:x", "--method", "vidcom2"
    )


@pytest.mark.skipif(find_spec("lmms_eval") is not None, reason="lmms-eval is installed")
def test_without_lmms_eval_the_way_to_it_is_said():
    assert 'pip install "sharpv[eval]"' in refuse("eval", "--suite", "lmms:mvbench")


def test_a_task_that_is_not_there_fails(lmms_eval):
    said = refuse("eval", "--suite", "lmms:nowhere", "--device", "cpu")
    assert "lmms-eval left no results: what it printed says why" in said


@pytest.fixture
def fake(monkeypatch):
    """Stands in for lmms-eval, and lists the commands that were to run."""
    commands = []

    def leave_results(command, **_):
        commands.append(command)
        folder = Path(command[command.index("--output_path") + 1])
        folder.mkdir()
        dense = f"{PREFIX}enabled=False" in command[command.index("--model_args") + 1]
        pruning = {"enabled": not dense, "seconds": 2.0, "documents": 8, "documents_served": 8}
        pruning |= {"tokens_kept": 25, "tokens_total": 100, "documents_served": 8 if dense else 6}
        pruning |= {"mean_layer_share": None if dense else 0.125}
        scores = {"few": {"alias": "few", "accuracy,none": 0.5, "accuracy_stderr,none": 0.1}}
        (folder / "1_results.json").write_text(json.dumps({"results": scores}))
        (folder / "1_sharpv.json").write_text(json.dumps(pruning))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("sharpv.engines.lmms_eval.command.find_spec", lambda _: True)
    monkeypatch.setattr(subprocess, "run", leave_results)
    return commands


def test_the_options_reach_each_run(fake, tmp_path):
    options = ("--retention", "0.25", "--method", "uniform", "--limit", "1", "--batch-size", "2")
    run("eval", "--suite", "lmms:few", *options, "--device", "cpu", "-o", tmp_path, "--", "--log_samples")
    dense, pruned = fake
    for command, name in ((dense, "dense"), (pruned, "uniform")):
        assert command[-1] == "--log_samples"
        given = dict(zip(command[5:-1:2], command[6:-1:2], strict=True))
        assert given.pop("--model_args")
        assert given == {
            **{"--tasks": "few", "--batch_size": "2", "--device": "cpu", "--limit": "1"},
            "--output_path": str(tmp_path / name),
        }
    assert model_args(dense)["sharpv_enabled"] == "False"
    assert (model_args(pruned)["sharpv_method"], model_args(pruned)["sharpv_retention"]) == (
        "uniform",
        "0.25",
    )
    # What the toy was trained on.
    assert [model_args(each)["max_frames_num"] for each in fake] == ["8", "8"]


def test_the_table_tells_scores_tokens_and_what_came_from_a_cache(fake, tmp_path):
    done = run("eval", "--suite", "lmms:few", "-o", tmp_path)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["dense", "few", "accuracy", "0.5", "100.0", "100.0", "2.0"] in rows
    assert ["sharpv", "few", "accuracy", "0.5", "25.0", "12.5", "2.0"] in rows
    assert "sharpv: 6 of 8 answers were generated" in " ".join(done.stderr.split())
    assert "dense:" not in done.stderr
