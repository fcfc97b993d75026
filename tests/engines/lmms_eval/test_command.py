"""`sharpv eval --suite lmms:TASK`: the commands it runs, and what it makes of their results."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import yaml

from sharpv import InputError, SharpVConfig, SharpVError, UnsupportedModelError
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


def test_what_lmms_eval_could_not_run_is_refused(tmp_path):
    for kind, dtype, error, named in (
        ("internvl", None, UnsupportedModelError, "type 'internvl'; .* knows llava_onevision, qwen2_5_vl"),
        ("qwen2_5_vl", "float32", InputError, "loads bfloat16 only"),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        with pytest.raises(error, match=named):
            eval_command(str(tmp_path), "mvbench", None, frames=8, output=tmp_path, dtype=dtype)


def test_reuse_that_has_no_name_does_not_fit_into_model_args(tmp_path):
    config = SharpVConfig(vision_reuse={"threshold": 8})
    with pytest.raises(InputError, match=r"threshold': 8\.0\}: .*model_args take 'balanced' or 'safe' only"):
        eval_command("toy:default", "mvbench", config, frames=8, output=tmp_path)


def test_results_of_an_earlier_run_are_not_taken_for_those_of_a_failed_one(tmp_path):
    (tmp_path / "1_results.json").write_text(json.dumps({"results": {"few": {"accuracy,none": 0.5}}}))
    (tmp_path / "1_sharpv.json").write_text("{}")
    assert read_results(tmp_path) == {"scores": {"few": {"accuracy": 0.5}}, "pruning": {}}
    with pytest.raises(SharpVError, match="left no results"):
        read_results(tmp_path, older=list(tmp_path.glob(RESULTS)))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--per-family", "2"), "--per-family would have no effect"),
        (("--methods", "all"), "--methods would have no effect"),
        (("--condition", "random"), "random: lmms-eval runs dense and those of sharpv only"),
        (("--condition", "blind"), "blind: lmms-eval runs dense and those of sharpv only"),
    ],
)
def test_options_that_mean_nothing_to_lmms_eval_are_refused(options, named):
    said = " ".join(run("eval", "--suite", "lmms:mvbench", *options, ok=2).output.replace("│", "").split())
    assert named in said


@pytest.mark.skipif(find_spec("lmms_eval") is not None, reason="lmms-eval is installed")
def test_without_lmms_eval_the_way_to_it_is_said():
    assert 'pip install "sharpv[eval]"' in refuse("eval", "--suite", "lmms:mvbench")


def test_one_line_runs_a_task_without_sharpv_and_with_it(tasks, tmp_path):
    line = [sys.executable, "-m", "sharpv.cli", "eval", "--suite", "lmms:few", "--device", "cpu", "--json"]
    line += ["-o", str(tmp_path), "--", "--include_path", str(tasks)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["conditions"]
    assert list(found) == ["dense", "sharpv"]
    assert [set(results["scores"]["few"]) for results in found.values()] == [{"accuracy"}] * 2
    assert [results["pruning"]["enabled"] for results in found.values()] == [False, True]
    assert 0 < found["sharpv"]["pruning"]["tokens_kept"] < found["sharpv"]["pruning"]["tokens_total"]
