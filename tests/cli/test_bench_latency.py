"""`sharpv bench latency` and `sharpv compare`: tables, then a line of JSON; mistakes are said early."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sharpv.bench import ceilings, random_weights
from sharpv.cli.app import app
from sharpv.methods import BEFORE_LLM, METHODS, needs_attention

SMALL = ["--frames", "4", "--repeats", "2", "--new-tokens", "2"]


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def quick_ceilings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings, "SIDES", {"cpu": 64})
        patch.setattr(ceilings, "COPIED_BYTES", {"cpu": 2**16})
        yield


@pytest.fixture(scope="module")
def measured(model_folder, tmp_path_factory):
    """The output of one run, and the file it wrote."""
    path = tmp_path_factory.mktemp("bench") / "a.json"
    model = model_folder("llava_onevision")
    return invoke(
        "bench", "latency", "-m", model, *SMALL, "--method", "sharpv", "--method", "uniform", "-o", path
    ), path


def test_tables_come_before_one_line_of_json(measured):
    result, path = measured
    assert result.exit_code == 0, result.output
    *text, last = result.stdout.strip().splitlines()
    values = json.loads(last)
    assert json.loads(path.read_text()) == values
    assert list(values["sides"]) == ["dense", "sharpv", "uniform"]
    lines = [line for line in text if line]
    assert lines[0].startswith("what")
    for phase in ("read and decode", "vision tower", "score and select", "LLM prefill", "= first token"):
        assert any(line.startswith(phase) for line in lines), phase
    assert any(line.startswith("largest phase with sharpv: ") for line in lines)
    assert not any("random weights" in line for line in lines)
    assert "round 2 of 2" in result.stderr


def test_the_help_names_every_method():
    words = invoke("bench", "latency", "--help").stdout.replace("│", " ").split()
    timed = {name for name, pruner in BEFORE_LLM.items() if not needs_attention(pruner)}
    named = {word.strip("(),.") for word in words}
    assert timed <= named
    assert not named & (set(METHODS) - timed)


def test_only_json_if_asked(model, clip):
    options = ["--video", clip, "--retention", "adaptive", "--bucket", 8, "--json"]
    result = invoke("bench", "latency", "-m", model, *SMALL, *options)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["spec"]["video"] == clip.name
    assert values["card"]["model"]["name"] == Path(model).name
    assert str(clip.parent) not in result.stdout
    assert values["spec"]["config"]["retention"] == "adaptive"
    assert values["spec"]["config"]["bucket"] == 8
    assert values["sides"]["sharpv"]["tokens_kept"] % 8 == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "--shape"),
        (["--shape", "qwen3-vl-4b", "-m", "toy:default"], "--shape"),
        (["--shape", "gpt"], "llava-onevision-0.5b"),
        (["--shape", "qwen3-vl-4b", "--dtype", "int8"], "--dtype"),
        (["-m", "toy:default", "--retention", "0"], "--retention"),
        (["-m", "toy:default", "--retention", "nan"], "--retention"),
        (["-m", "toy:default", "--retention", "most"], "--retention"),
        (["-m", "toy:default", "--method", "fastv"], "fastv"),
        (["-m", "toy:default", "--method", "random", "--retention", "adaptive"], "random"),
        (["-m", "toy:default", "--memory-threshold", "inf"], "memory_threshold"),
        (["-m", "toy:default", "--bucket", "0"], "bucket"),
        (["-m", "toy:default", "--minutes", "0"], "minutes"),
        (["-m", "toy:default", "--frames", "0"], "--frames"),
        (["-m", "toy:default", "--repeats", "0"], "--repeats"),
        (["-m", "toy:default", "--layers", "1"], "--layers"),
        (["--shape", "qwen3-vl-4b", "--layers", "0"], "--layers"),
        (["--shape", "qwen3-vl-4b", "--layers", "37"], "qwen3-vl-4b has 36"),
        (["-m", "toy:default", "-o", "nowhere/else/a.json"], "nowhere"),
        (["-m", "toy:default", "--vision-reuse", "most"], "--vision-reuse"),
        (["-m", "toy:default", "--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_wrong_options_are_usage_errors(options, said):
    result = invoke("bench", "latency", *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr.replace("\n", " ")


def test_vision_reuse_is_timed_beside_all_patches(model, clip):
    result = invoke("bench", "latency", "-m", model, *SMALL, "--vision-reuse", "balanced", "--video", clip)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout.splitlines()[-1])
    assert list(values["sides"]) == ["dense", "sharpv", "sharpv+reuse"]
    assert values["spec"]["config"]["vision_reuse"]["threshold"] == 6
    lines = result.stdout.splitlines()
    patches = f"{values['reuse']['rows_computed']:,} of {values['reuse']['rows_total']:,}"
    assert any(line.startswith("patches encoded") and patches in line for line in lines)
    for start in (
        "planning",
        "vision tower, with reuse",
        "with reuse / all patches",
        "sharpv+reuse",
    ):
        assert any(line.startswith(start) for line in lines), start
    assert any(line.startswith("first token without reading the clip") for line in lines)
    assert " with reuse " in result.stderr


def test_a_yaml_file_says_it_too_and_options_override_it(model, clip, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("retention: 0.5\nvision_reuse: {threshold: 9, max_share: 0.001}\n")
    options = ["--config", path, "--retention", "0.25", "--video", clip, "--json"]
    result = invoke("bench", "latency", "-m", model, *SMALL, *options)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    config = values["spec"]["config"]
    assert (config["retention"], config["memory_threshold"]) == (0.25, None)
    assert config["vision_reuse"]["threshold"] == 9
    assert "max_share=0.001" in values["reuse"]["fallback"]


def test_a_shape_runs_with_random_weights(small_shape, clip):
    options = ["--shape", small_shape, "--dtype", "bfloat16", "--device", "cpu", "--video", clip]
    result = invoke("bench", "latency", *options, *SMALL)
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout.splitlines()[-1])
    assert values["card"]["model"]["name"] == "small"
    assert values["card"]["model"]["dtype"] == "bfloat16"
    assert values["card"]["request"]["tokens_per_frame"] == 196
    assert values["sides"]["sharpv"]["tokens_kept"] == round(0.12 * 4 * 196)
    assert "random weights" in result.stdout
    assert "layers: its prefill" not in result.stdout


def test_a_part_of_a_shape_says_so(small_shape, clip):
    options = ["--shape", small_shape, "--layers", "1", "--device", "cpu", "--video", clip]
    result = invoke("bench", "latency", *options, *SMALL, "--repeats", "1")
    assert result.exit_code == 0, result.output
    model = json.loads(result.stdout.splitlines()[-1])["card"]["model"]
    assert (model["name"], model["layers"]) == ("small, 1 of 2 layers", [1, 2])
    assert "the LLM has 1 of 2 layers: its prefill" in result.stdout


def test_a_shape_that_does_not_fit_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr(random_weights, "free_bytes", lambda device: 10**9)
    result = invoke("bench", "latency", "--shape", "qwen2.5-vl-7b", "--dtype", "bfloat16", "--device", "cpu")
    assert result.exit_code == 1
    assert "16.6 GB in torch.bfloat16, and 1.0 GB free on cpu" in result.stderr


def test_a_clip_that_is_not_there_is_a_failure_with_a_remedy(model):
    result = invoke("bench", "latency", "-m", model, *SMALL, "--video", "none.mp4")
    assert result.exit_code == 1
    assert "none.mp4" in result.stderr


def test_compare_shows_both(measured, tmp_path):
    _, path = measured
    result = invoke("compare", path, path)
    assert result.exit_code == 0, result.output
    assert "sharpv: prefill ms" in result.stdout
    assert "differs" not in result.stdout
    other = tmp_path / "b.json"
    other.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "other", "sides": {}}))
    result = invoke("compare", path, other)
    assert "differs" in result.stdout
    assert "not in" in result.stdout


def test_compare_as_json(measured):
    _, path = measured
    values = json.loads(invoke("compare", path, path, "--json").stdout)
    assert values["bench"] == "latency"
    assert all(row["ratio"] in (1.0, None) and row["overlaps"] for row in values["rows"])


def test_compare_refuses_other_files(measured, tmp_path):
    _, path = measured
    broken = tmp_path / "b.json"
    broken.write_text("{")
    result = invoke("compare", path, broken)
    assert result.exit_code == 1
    assert "b.json" in result.stderr
    assert invoke("compare", path).exit_code == 2
