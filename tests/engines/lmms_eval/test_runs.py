"""lmms-eval from PyPI, on tasks of our own, through the entry point."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from sharpv import SharpVConfig
from sharpv.bench.accuracy import run as evaluate_here
from sharpv.bench.conditions import choose_conditions
from sharpv.engines.lmms_eval.tested import BASES as KNOWN
from sharpv.hf.ask import load_model
from sharpv.methods import METHODS, Uniform
from tests.engines.lmms_eval.conftest import FEW, SPEC

# lmms-eval passes pixels as transformers 5 no longer wants them.
pytestmark = pytest.mark.filterwarnings("ignore:Passing `min_pixels` and `max_pixels`")

SMALL = "min_pixels=3136,max_pixels=12544"
BASES = {
    "llava_onevision": "base=llava_hf,max_frames_num=8",
    "qwen2_vl": f"base=qwen2_vl,max_num_frames=4,{SMALL}",
    "qwen2_5_vl": f"base=qwen2_5_vl,max_num_frames=8,{SMALL}",
    "qwen3_vl": "base=qwen3_vl,max_num_frames=8,min_pixels=3136,max_pixels=16384",
    "qwen3_5": "base=qwen3_5,max_num_frames=4,min_pixels=3136,max_pixels=16384,enable_thinking=False",
    "internvl": "base=internvl_hf,num_frames=8,sharpv_images_as_frames=True",
}
TOKENS = {
    **{"llava_onevision": 8 * 16, "qwen2_vl": 2 * 16, "qwen2_5_vl": 4 * 16, "qwen3_vl": 4 * 16},
    **{"qwen3_5": 2 * 16, "internvl": 8 * 16},
}
"""Of a clip, before pruning."""

TOY = "base=llava_hf,pretrained=toy:default,dtype=float32,max_frames_num=8"
OFF, NOTHING_DROPPED = "sharpv_enabled=False", "sharpv_retention=1.0,sharpv_memory_threshold=None"


def test_each_base_that_is_offered_is_run_here():
    assert {family for base in KNOWN.values() for family in base.families} == set(BASES)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_the_command_prints_its_table_and_writes_what_was_kept(command, checkpoint, tmp_path, family):
    args = f"{BASES[family]},pretrained={checkpoint(family)},sharpv_retention=0.25"
    done = command(args, "few", "--output_path", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "|few  |none  |     0|accuracy|" in done.stdout
    assert "sharpv_retention=0.25" in done.stdout
    (results,), (lines,) = tmp_path.rglob("*_results.json"), tmp_path.rglob("*_sharpv.jsonl")
    assert lines.name.removesuffix("_sharpv.jsonl") == results.name.removesuffix("_results.json")
    requests = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [request["docs"] for request in requests] == [[{"task": "few", "doc_id": n}] for n in (0, 1)]
    for request in requests:
        (video,) = request["videos"]
        assert video["tokens_total"] == TOKENS[family]
        assert video["tokens_kept"] == TOKENS[family] // 4
        removed = TOKENS[family] - TOKENS[family] // 4
        assert request["prompt_tokens"][0] - request["prompt_tokens_kept"][0] == removed
        assert request["cache_bytes"] < request["dense_cache_bytes"]
        assert request["new_tokens"] == [4]
        assert 0 < request["milliseconds"]["prefill"] < 1000 * request["seconds"]
    summary = json.loads(lines.with_suffix(".json").read_text())
    assert summary["config"]["retention"] == 0.25
    assert summary["requests_with_video"] == 2
    assert summary["tokens_kept"] == 2 * TOKENS[family] // 4
    assert summary["kept_share"] == {"mean": 0.25, "min": 0.25, "max": 0.25}


@pytest.mark.parametrize("family", BASES)
def test_a_tiny_model_answers_the_same_with_nothing_dropped_as_without_sharpv(evaluate, checkpoint, family):
    args = f"{BASES[family]},pretrained={checkpoint(family)}"
    off, on = evaluate(f"{args},{OFF}", "few"), evaluate(f"{args},{NOTHING_DROPPED}", "few")
    assert off.answers == on.answers
    assert all(off.answers)
    prompts = [[request["prompt_tokens"] for request in run.requests] for run in (off, on)]
    assert prompts[0] == prompts[1]
    assert [request["videos"] for request in off.requests] == [[], []]
    assert all(request["videos"][0]["tokens_kept"] == TOKENS[family] for request in on.requests)
    pruned = evaluate(f"{args},sharpv_retention=0.25", "few")
    assert all(request["videos"][0]["tokens_kept"] == TOKENS[family] // 4 for request in pruned.requests)


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_switched_off_it_is_the_base_as_it_comes(evaluate, checkpoint, family):
    # The other bases do not run on a CPU with transformers 5 as they come.
    base, _, args = BASES[family].partition(",")
    args += f",pretrained={checkpoint(family)}"
    plain = evaluate(f"{args},device_map=cpu", "few", model=base.removeprefix("base="))
    assert plain.answers == evaluate(f"{base},{args},{OFF}", "few").answers
    assert plain.summary == {}


def test_shapesqa_is_answered_the_same_with_nothing_dropped(evaluate):
    dense, pruned = evaluate(f"{TOY},{OFF}", "shapesqa"), evaluate(TOY, "shapesqa")
    assert dense.answers != pruned.answers
    assert evaluate(f"{TOY},{NOTHING_DROPPED}", "shapesqa").answers == dense.answers


def test_one_line_prints_the_accuracy_that_our_own_eval_finds(tasks, tmp_path):
    # Its other options are in test_command.
    line = [sys.executable, "-m", "sharpv.cli", "eval", "--suite", "lmms:shapesqa", "--device", "cpu"]
    line += ["--json", "-o", str(tmp_path), "--", "--include_path", str(tasks)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["conditions"]
    assert list(found) == ["dense", "sharpv"]
    # lmms-eval's own tables, which make way for the JSON.
    rows = [line.split("|") for line in done.stderr.splitlines() if line.startswith("|shapesqa|")]
    spec = replace(SPEC, conditions=choose_conditions(["sharpv"]))
    here = evaluate_here(load_model(dtype="float32", device="cpu"), spec)["conditions"]
    for (name, results), row in zip(found.items(), rows, strict=True):
        families = here[name]["families"].values()
        right, asked = (sum(family[key] for family in families) for key in ("right", "n"))
        assert results["scores"] == {"shapesqa": {"accuracy": pytest.approx(right / asked)}}
        assert (row[4].strip(), float(row[6])) == ("accuracy", pytest.approx(right / asked, abs=1e-4))
        assert results["pruning"]["documents"] == results["pruning"]["documents_served"] == asked
    dense, pruned = (results["pruning"] for results in found.values())
    assert (dense["enabled"], pruned["enabled"], pruned["method"]) == (False, True, "sharpv")
    assert pruned["config"] == SharpVConfig().to_dict()
    assert 0 < pruned["tokens_kept"] < pruned["tokens_total"]


def test_another_method_and_all_frames_of_a_short_clip(evaluate, checkpoint):
    args = f"base=llava_hf,pretrained={checkpoint('llava_onevision')},sharpv_retention=0.5"
    run = evaluate(f"{args},sharpv_method=vidcom2", "few")
    (video,) = run.requests[0]["videos"]
    assert video["frames"] == FEW.frames
    assert video["tokens_kept"] == FEW.frames * 16 // 2


def test_what_a_method_inside_the_llm_drops_is_told(evaluate, checkpoint):
    args = f"{BASES['llava_onevision']},pretrained={checkpoint('llava_onevision')},sharpv_retention=0.25"
    run = evaluate(f"{args},sharpv_method=fastv,sharpv_memory_threshold=None", "few")
    assert run.summary["kept_share"]["mean"] == 1
    assert 0.25 < run.summary["mean_layer_share"] < 1
    before = evaluate(f"{args},sharpv_memory_threshold=None", "few")
    assert before.summary["mean_layer_share"] == before.summary["kept_share"]["mean"] == 0.25


class Broken(Uniform):
    name = "broken"

    def select(self, *_, **__):
        raise ValueError("out of order")


def test_a_failure_in_pruning_fails_the_run(monkeypatch, evaluate, checkpoint):
    from sharpv.engines.lmms_eval.model import RunFailed  # noqa: PLC0415

    monkeypatch.setitem(METHODS, "broken", Broken())
    args = f"{BASES['llava_onevision']},pretrained={checkpoint('llava_onevision')},sharpv_retention=0.5"
    with pytest.raises(RunFailed, match="request few 0: out of order"):
        evaluate(f"{args},sharpv_method=broken", "few")
    # lmms-eval would go on after an Exception.
    assert not issubclass(RunFailed, Exception)
