"""The latency benchmark on a model too small to time: what it says, and that it checks before it times."""

import json
import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from sharpv.bench import ceilings, latency, trust
from sharpv.bench.latency import run
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import FIRST_TOKEN_PHASES, side_summary, speed_up
from sharpv.bench.phases import LlmSide, run_input_side, run_llm_side
from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.report import VideoReport
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import write_video

FAMILIES = ["llava_onevision", "qwen2_5_vl", "qwen3_vl", "internvl"]


@pytest.fixture(scope="module", autouse=True)
def quick_ceilings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ceilings, "SIDES", {"cpu": 64})
        patch.setattr(ceilings, "COPIED_BYTES", {"cpu": 2**16})
        yield


def tiny(family: str = "llava_onevision") -> VideoModel:
    return VideoModel(family, *RANDOM_MODELS[family](image_size=112))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    write_video(moving_square(frames=24, height=112, width=112), path, fps=6)
    return str(path)


def small(**given) -> LatencySpec:
    return LatencySpec(**{"frames": 8, "repeats": 2, "new_tokens": 3} | given)


@pytest.fixture(scope="module")
def result(clip) -> dict:
    return run(tiny(), small(methods=("sharpv", "random", "uniform"), batch=2), clip)


def test_the_result_is_plain_json(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["bench"], result["schema_version"]) == ("latency", 1)
    assert list(result["sides"]) == ["dense", "sharpv", "random", "uniform"]
    assert torch.__version__.startswith(result["versions"]["torch"])
    assert result["checked"]["idle_exact"] is True


def test_every_spread_is_in_order_and_every_side_has_every_phase(result):
    spreads = list(result["shared"]["ms"].values())
    for side in result["sides"].values():
        assert set(result["shared"]["ms"]) | set(side["ms"]) == {
            *FIRST_TOKEN_PHASES,
            "first_token",
            "per_token",
        }
        spreads += side["ms"].values()
    for middle, low, high in spreads:
        assert 0 <= low <= middle <= high


def test_the_card_adds_up(result):
    card = result["card"]
    parameters = card["model"]["parameters"]
    assert parameters["total"] == sum(value for part, value in parameters.items() if part != "total")
    assert card["model"]["weight_bytes"] == 4 * parameters["total"]
    request = card["request"]
    assert request["video_tokens"] == request["frames"] * request["tokens_per_frame"] + 1
    dense = result["sides"]["dense"]
    assert dense["kv_bytes"] == card["kv_bytes_per_token"] * request["prompt_tokens"] * request["batch"]
    assert dense["prefill_flops"] == card["flops"]["dense"]["prefill"]
    assert min(card["ceilings"].values()) > 0


@pytest.mark.parametrize("side", ["sharpv", "random", "uniform"])
def test_pruned_sides_keep_what_was_asked_and_take_less(result, side):
    side, dense, card = result["sides"][side], result["sides"]["dense"], result["card"]
    assert side["tokens_kept"] == round(0.12 * side["tokens_total"])
    pruned = card["flops"]["pruned"]
    assert pruned["tokens"] == card["request"]["prompt_tokens"] - side["tokens_total"] + side["tokens_kept"]
    assert side["kv_bytes"] == card["kv_bytes_per_token"] * pruned["tokens"] * 2
    assert side["prefill_flops"] == pruned["prefill"] < dense["prefill_flops"]
    assert side["speed_up"]["prefill"]["ideal"] == pytest.approx(
        dense["prefill_flops"] / side["prefill_flops"], abs=1e-3
    )
    assert 1 < side["speed_up"]["first_token"]["ideal"] < side["speed_up"]["prefill"]["ideal"]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_kind_of_family_is_measured_whole(family, clip):
    result = run(tiny(family), small(repeats=1), clip)
    card = result["card"]
    assert card["flops"]["vision_tower"] > card["flops"]["projector"] > 0
    assert all(result["shared"]["ms"][phase][0] > 0 for phase in ("vision_tower", "projector"))
    assert card["model"]["parameters"]["projector"] > 0
    kept = result["sides"]["sharpv"]
    assert kept["tokens_total"] == card["request"]["frames"] * card["request"]["tokens_per_frame"]
    assert kept["tokens_kept"] == round(0.12 * kept["tokens_total"])


def test_stage_2_shows_in_the_bytes(clip):
    config = SharpVConfig(retention=0.5, memory_threshold=2.0)
    spec = small(repeats=1, config=config)
    bytes_with, bytes_without = (
        run(tiny(), chosen, clip)["sides"]["sharpv"]["kv_bytes"]
        for chosen in (spec, replace(spec, config=replace(config, memory_threshold=None)))
    )
    assert 0 < bytes_with < bytes_without


def test_adaptive_counts_are_those_of_the_clip(clip):
    result = run(tiny(), small(repeats=1, config=SharpVConfig(memory_threshold=None)), clip)
    assert result["card"]["flops"]["pruned"] is None
    side = result["sides"]["sharpv"]
    assert 8 <= side["tokens_kept"] < side["tokens_total"]
    assert side["speed_up"]["prefill"]["ideal"] > 1


def test_the_encoder_runs_once_per_round_and_less_when_time_is_short(clip):
    loaded, calls = tiny(), []
    loaded.model.model.vision_tower.register_forward_pre_hook(lambda *_: calls.append(1))
    result = run(loaded, small(repeats=3, methods=("sharpv", "random")), clip)
    in_check = 3
    assert len(calls) == in_check + 1 + 3
    assert result["shared"]["encodings"] == 3
    calls.clear()
    result = run(loaded, small(repeats=3, minutes=1e-9), clip)
    assert len(calls) == in_check + 1 + 1
    assert result["shared"]["encodings"] == 1
    assert len(set(result["shared"]["ms"]["vision_tower"])) == 1


def test_nothing_is_left_on_the_model(clip):
    loaded = tiny()
    given = run_input_side(loaded, clip, 4, ("What?",))  # transformers marks a model at its first run
    run_llm_side(loaded, given, 1, nullcontext)
    before = traces(loaded)
    run(loaded, small(repeats=1), clip)
    assert traces(loaded) == before


def traces(loaded: VideoModel) -> dict:
    return {
        name: (set(vars(part)), list(part._forward_hooks), list(part._forward_pre_hooks))
        for name, part in loaded.model.named_modules()
    }


def test_a_model_that_is_not_exact_when_nothing_is_dropped_is_not_timed(clip, monkeypatch):
    def off_by_one_frame(model, config, **given):
        return attach(model, replace(config, retention=0.5), **given)

    monkeypatch.setattr(trust, "attach", off_by_one_frame)
    with pytest.raises(RuntimeError, match="not exactly the dense"):
        run(tiny(), small(), clip)


def test_logits_that_are_not_finite_are_not_timed(clip):
    loaded = tiny()
    loaded.model.lm_head.weight.data.fill_(torch.inf)
    with pytest.raises(RuntimeError, match="not finite"):
        run(loaded, small(), clip)


def test_other_counts_than_asked_are_not_timed(clip, monkeypatch):
    def too_many(model, config, **given):
        return attach(model, replace(config, retention=0.2), **given)

    monkeypatch.setattr(latency, "attach", too_many)
    with pytest.raises(RuntimeError, match=r"kept 26 of 128 .* asks for 15"):
        run(tiny(), small(), clip)


def test_a_clip_with_too_few_frames_is_refused(clip):
    with pytest.raises(InputError, match="24 frames for --frames 25"):
        run(tiny(), small(frames=25), clip)


def test_phases_are_the_whole_of_what_generate_took(clip):
    loaded = tiny()
    given = run_input_side(loaded, clip, 4, ("What?",))
    side = run_llm_side(loaded, given, 1, lambda: attach(loaded.model, small().config))
    assert side.ms["per_token"] is None
    assert all(side.ms[phase] > 0 for phase in ("scoring", "prefill", "rest"))
    dense = run_llm_side(loaded, given, 2, nullcontext)
    assert dense.ms["scoring"] == 0
    assert dense.videos == ()
    assert dense.ms["per_token"] > 0


GIVEN = {"read": 1.0, "preprocess": 2.0, "vision_tower": 30.0, "projector": None}


def sides(prefills: list[float], scoring: float) -> list[LlmSide]:
    return [
        LlmSide({"scoring": scoring, "prefill": ms, "rest": 3.0, "per_token": None}, 10, None, ())
        for ms in prefills
    ]


def test_the_first_token_is_the_sum_of_its_phases():
    summary = side_summary(GIVEN, sides([20.0, 40.0, 30.0], 4.0))
    assert summary["ms"]["first_token"] == [70.0, 60.0, 80.0]
    assert summary["ms"]["per_token"] is None
    assert summary["peak_bytes"] is None
    assert summary["largest_phase"]["name"] in ("vision_tower", "prefill")
    assert summary["largest_phase"]["share"] == pytest.approx(30 / 70, abs=1e-4)


def test_ideal_and_share_are_by_hand():
    found = speed_up(GIVEN, sides([64.0] * 3, 0.0), sides([10.0, 8.0, 16.0], 4.0), flops_ratio=16.0)
    assert found["prefill"] == {"reached": [6.4, 4.0, 8.0], "ideal": 16.0, "share": 0.4}
    assert found["first_token"]["ideal"] == 2.5
    assert found["first_token"]["reached"] == [2.0, round(100 / 56, 3), round(100 / 48, 3)]
    assert found["first_token"]["share"] == 0.8


def test_without_counts_there_is_no_ideal():
    found = speed_up(GIVEN, sides([64.0] * 3, 0.0), sides([10.0] * 3, 4.0), flops_ratio=None)
    assert found["prefill"]["ideal"] is found["prefill"]["share"] is found["first_token"]["ideal"] is None


def video(kept: list[int], ratios: list[float], f: int = 10) -> VideoReport:
    rows = tuple(tuple(place < count for place in range(f)) for count in kept)
    return VideoReport(
        row=0, frames=len(kept), tokens_per_frame=f, separators=0, ratios=tuple(ratios), kept=rows
    )


@pytest.mark.parametrize(
    ("method", "config", "kept", "expected"),
    [
        ("sharpv", SharpVConfig(retention=0.3), [5, 1], True),
        ("sharpv", SharpVConfig(retention=0.3), [5, 2], False),
        ("sharpv", SharpVConfig(retention=0.01), [1, 1], True),
        ("random", SharpVConfig(retention=0.01), [1, 0], True),
        ("random", SharpVConfig(retention=0.01), [1, 1], False),
        ("sharpv", SharpVConfig(), [5, 1], True),
        ("sharpv", SharpVConfig(), [6, 1], False),
        ("sharpv", SharpVConfig(), [5, 0], False),
        ("sharpv", SharpVConfig(bucket=4), [6, 2], True),
        ("sharpv", SharpVConfig(bucket=4), [5, 1], False),
        ("sharpv", SharpVConfig(bucket=4), [4, 4], False),
        ("sharpv", SharpVConfig(bucket=64), [10, 10], True),
        ("sharpv", SharpVConfig(retention=0.25, bucket=4), [6, 2], True),
        ("random", SharpVConfig(retention=0.25, bucket=4), [0, 8], True),
        ("random", SharpVConfig(retention=0.25, bucket=4), [2, 3], False),
    ],
)
def test_what_counts_as_kept_as_asked(method, config, kept, expected):
    spec = LatencySpec(config=config)
    assert spec.kept_as_asked(method, video(kept, [0.5 + 3e-8, 0.0])) is expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"batch": True}, "batch is True"),
        ({"repeats": 1.5}, "repeats is 1.5"),
        ({"new_tokens": -1}, "new_tokens is -1"),
        ({"minutes": math.nan}, "minutes is nan"),
        ({"methods": ()}, "one or more of sharpv, random, uniform"),
        ({"methods": ("sharpv", "sharpv")}, "each once"),
        ({"methods": ("fastv",)}, "'fastv'"),
        ({"methods": ("sharpv", "fastvid")}, "has fastvid, which look at the attention of the vision tower"),
        ({"config": SharpVConfig(threshold=1.0)}, "set retention instead"),
    ],
)
def test_what_cannot_be_timed_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        LatencySpec(**given)


def test_a_method_that_cannot_follow_is_refused_before_anything_runs(clip):
    spec = small(methods=("random",), config=SharpVConfig(memory_threshold=None))
    with pytest.raises(InputError, match="give a number"):
        run(tiny(), spec, clip, on_card=lambda card: pytest.fail("it ran"))
