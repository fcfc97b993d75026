"""The latency benchmark with vision reuse: both encodings in turn, checked before they are timed."""

import json
from dataclasses import replace

import pytest
import torch

from sharpv.bench import latency, trust
from sharpv.bench.latency import run
from sharpv.bench.latency_reuse import REUSE, WHOLE, median_round, reuse_summary
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.latency_summary import FIRST_TOKEN_PHASES, speed_up
from sharpv.bench.phases import InputSide, encode, prepare, run_llm_side
from sharpv.bench.reuse import RandomPatches, reuse_of
from sharpv.config import SharpVConfig, VisionReuse
from sharpv.report import ReuseReport
from tests.bench.test_latency import GIVEN, clip, quick_ceilings, sides, small, tiny, traces  # noqa: F401

REUSING = SharpVConfig(retention=0.12, memory_threshold=None, vision_reuse="balanced")
FAMILIES = ["llava_onevision", "internvl", "qwen2_5_vl", "qwen3_vl"]


@pytest.fixture(scope="module")
def result(clip) -> dict:  # noqa: F811
    return run(tiny(), small(config=REUSING, methods=("sharpv", "uniform"), batch=2), clip)


def test_the_sides_with_reuse_have_a_tower_of_their_own(result):
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert list(result["sides"]) == ["dense", "sharpv", "uniform", "sharpv+reuse", "uniform+reuse"]
    for name, side in result["sides"].items():
        phases = {*result["shared"]["ms"], *side["ms"]}
        assert phases == {*FIRST_TOKEN_PHASES, "first_token", "per_token"}
        assert ("vision_tower" in side["ms"]) is name.endswith("+reuse")
        if name != "dense":
            assert side["tokens_kept"] == round(0.12 * side["tokens_total"])
            assert side["speed_up"]["first_token"]["reached"][0] > 0


def test_what_was_spared_is_said(result):
    reuse = result["reuse"]
    assert 0 < reuse["rows_computed"] < reuse["rows_total"]
    assert reuse["share"] == reuse["rows_computed"] / reuse["rows_total"]
    assert reuse["full_frames"] >= 1
    assert reuse["fallback"] is None
    assert reuse["plan_milliseconds"] > 0
    assert result["sides"]["sharpv+reuse"]["ms"]["vision_tower"] == reuse["ms"]["reuse"]
    assert result["shared"]["ms"]["vision_tower"] == reuse["ms"]["whole"]
    assert list(reuse["without_reading"]) == list(result["sides"])
    assert reuse["without_reading"]["dense"]["faster"] == [1.0, 1.0, 1.0]
    assert result["checked"]["reuse_frames"] == 4
    assert result["checked"]["reuse_error"] <= 1e-5


def test_without_reuse_the_result_is_as_before(clip):  # noqa: F811
    result = run(tiny(), small(repeats=1), clip)
    assert list(result["sides"]) == ["dense", "sharpv"]
    assert "reuse" not in result
    assert "reuse_error" not in result["checked"]


def test_the_rows_that_are_timed_are_those_of_the_plan_and_nothing_stays(clip):  # noqa: F811
    loaded, rows = tiny(), []
    encode(loaded, prepare(loaded, clip, 4, ("What?",)))  # transformers marks a model at its first run
    layer = loaded.model.model.vision_tower.encoder.layers[0]
    before = traces(loaded)
    hook = layer.register_forward_hook(lambda module, args, output: rows.append(output.shape[:-1].numel()))
    result = run(loaded, small(repeats=2, config=REUSING), clip)
    hook.remove()
    total, computed = result["reuse"]["rows_total"], result["reuse"]["rows_computed"]
    # Three checks of the idle session, two of reuse on 4 of the 8 frames; then the warm-up and two rounds.
    assert rows[5:] == [computed, total, computed, total, total, computed]
    assert traces(loaded) == before


def test_each_side_reads_the_features_of_its_own_encoding(clip, monkeypatch):  # noqa: F811
    given = []

    def noted(loaded, request, new_tokens, attached):
        given.append(bool(request.reuse))
        with attached() as session:
            reuse = None if session is None else session.reuse
        assert reuse is None  # nothing is planned twice
        return run_llm_side(loaded, request, new_tokens, attached)

    monkeypatch.setattr(latency, "run_llm_side", noted)
    run(tiny(), small(repeats=2, config=REUSING), clip)
    # dense, sharpv, sharpv+reuse in the warm-up; then backwards, then forwards.
    assert given == [False, False, True, True, False, False, False, False, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_time_of_planning_is_the_towers(family, clip, monkeypatch):  # noqa: F811
    loaded, ticks = tiny(family), [0.0]

    def seconds(device):
        ticks[0] += 0.001
        return ticks[0]

    monkeypatch.setattr("sharpv.bench.phases.seconds", seconds)

    def slow(frames, unit, settings, patch):
        ticks[0] += 5.0
        return RandomPatches(0.3)(frames, unit, settings)

    reuse = reuse_of(loaded.model, VisionReuse(), slow)
    side = encode(loaded, prepare(loaded, clip, 4, ("What?",)), reuse)
    assert 5000 < side.ms["vision_tower"] < 5100
    assert 0 < side.ms["projector"] < 100


def test_a_packed_pass_that_is_not_the_tower_is_not_timed(clip, monkeypatch):  # noqa: F811
    class OnePatchLess(RandomPatches):
        def __call__(self, *given):
            plan = super().__call__(*given)
            plan.source[-1, 0] = 0
            return plan

    monkeypatch.setattr(trust, "RandomPatches", OnePatchLess)
    with pytest.raises(RuntimeError, match="is not the vision tower of llava_onevision"):
        run(tiny(), small(config=REUSING), clip)


def test_in_half_precision_the_cosine_decides(clip):  # noqa: F811
    loaded = tiny()
    loaded.model.to(torch.bfloat16)
    loaded.model.model.image_newline.data.zero_()
    processor = loaded.processor.video_processor
    reuse = VisionReuse(image_mean=tuple(processor.image_mean), image_std=tuple(processor.image_std))
    checked = run(loaded, small(repeats=1, config=replace(REUSING, vision_reuse=reuse)), clip)["checked"]
    assert 0.9999 <= checked["reuse_cosine"] < 1.0001


def test_a_clip_that_changes_too_much_says_why_all_of_it_was_encoded(clip):  # noqa: F811
    config = replace(REUSING, vision_reuse=VisionReuse(max_share=0.01))
    reuse = run(tiny(), small(repeats=1, config=config), clip)["reuse"]
    assert "max_share=0.01" in reuse["fallback"]
    assert reuse["share"] == 1


def test_frames_for_an_audit_are_not_timed():
    with pytest.raises(ValueError, match=r"audit=2.*`sharpv bench audit`"):
        LatencySpec(config=SharpVConfig(retention=0.5, vision_reuse=VisionReuse(audit=2)))


def test_the_ideal_with_reuse_is_by_hand():
    """Dense: 1 + 2 + 30 + 64 + 3. Ideal: 60 less of the prefill, 24 of the tower. Reached: a tower of 8."""
    own = {**GIVEN, "vision_tower": 8.0}
    found = speed_up(GIVEN, sides([64.0] * 2, 0.0), sides([10.0] * 2, 4.0), 16.0, (own, 0.2))
    assert found["first_token"]["ideal"] == 6.25
    assert found["first_token"]["reached"][0] == round(100 / 28, 3)
    assert found["prefill"]["ideal"] == 16.0


def test_ratios_are_of_pairs_and_reading_is_taken_off():
    given = {
        WHOLE: [{**GIVEN, "read": 10.0, "vision_tower": tower} for tower in (20.0, 40.0, 90.0)],
        REUSE: [{**GIVEN, "read": 10.0, "vision_tower": tower} for tower in (10.0, 10.0, 30.0)],
    }
    report = ReuseReport(computed=((True, True), (True, False)), grid=(1, 2), plan_milliseconds=1.5)
    request = InputSide({}, None, {}, 7, (report, report))
    found = reuse_summary(given, request, {"dense": [110.0, 210.0], "sharpv+reuse": [60.0, 30.0]})
    assert found["tower_times_dense"] == [0.333, 0.25, 0.5]
    assert (found["share"], found["full_frames"], found["plan_milliseconds"]) == (0.75, 1, 3.0)
    assert found["without_reading"]["sharpv+reuse"] == {"ms": [35.0, 20.0, 50.0], "faster": [6.0, 2.0, 10.0]}
    assert median_round(given[WHOLE]) == {**GIVEN, "read": 10.0, "vision_tower": 40.0}
