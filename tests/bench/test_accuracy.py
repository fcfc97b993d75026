"""A run on the toy in the box: what is compared is comparable."""

import json
from dataclasses import replace

import numpy as np
import pytest

import sharpv
from sharpv.bench import accuracy, ask_clip
from sharpv.bench.accuracy import draw, run
from sharpv.bench.asking import answer, as_video, batches
from sharpv.bench.chosen import on_clip
from sharpv.bench.conditions import CONDITIONS, Condition, choose_conditions
from sharpv.bench.flops import PrefillFlops
from sharpv.bench.records import Records
from sharpv.report import LayerReport, Report
from sharpv.shapesqa import render_clip
from tests.bench.conftest import EVERY, FEW, small


@pytest.fixture(scope="module")
def records(finished) -> dict:
    lines = (finished[0] / "records.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return {(record["clip"], record["condition"]): record for record in found}


def test_every_clip_is_asked_under_every_condition(finished, records):
    samples = draw(small(), 1)
    assert set(records) == {(sample.name, name) for sample in samples for name in CONDITIONS}
    for sample in samples:
        for name in CONDITIONS:
            asked = records[sample.name, name]["answers"]
            assert sorted(one["question"] for one in asked) == sorted(q.text for q in sample.questions)
    summary = finished[1]
    assert list(summary["conditions"]) == list(CONDITIONS)
    assert json.loads((finished[0] / "summary.json").read_text()) == summary
    assert summary["questions"] == 4
    assert summary["settings"]["dtype"] == "float32"


def test_random_and_uniform_keep_exactly_what_sharpv_keeps_on_each_clip(records):
    for clip in {clip for clip, _ in records}:
        kept = {name: records[clip, name]["tokens_kept"] for name in CONDITIONS}
        total = records[clip, "dense"]["tokens_total"]
        for condition in EVERY:
            if condition.rival is not None:
                assert kept[condition.rival] == kept[condition.name]
        assert kept["sharpv"] == kept["sharpv-coverage"] == kept["sharpv-no-memory"] < total == 4 * 64
        assert kept["sharpv-budget"] == round(0.25 * total)
        assert kept["sharpv-threshold"] < total
        assert kept["dense"] == kept["memory-only"] == total
        assert kept["blind"] == 0


def test_random_has_a_mask_of_its_own_for_each_clip():
    samples = draw(small(per_family=2), 2)
    condition = next(condition for condition in choose_conditions() if condition.name == "random")
    made = [on_clip(condition, sample.name, 1 / 3) for sample in samples]
    assert len({pruner.seed for _, pruner in made}) == len(samples) > 1
    assert {config.retention for config, _ in made} == {1 / 3}
    assert made == [on_clip(condition, sample.name, 1 / 3) for sample in samples]


def test_dense_is_the_plain_model(toy, records):
    for sample in draw(small(), 1):
        made = batches(toy, as_video(render_clip(sample.scene)), sample.questions, small())
        plain = {
            question.text: said
            for batch in made
            for question, said in zip(batch.questions, answer(toy, batch), strict=True)
        }
        asked = records[sample.name, "dense"]["answers"]
        assert {one["question"]: one["said"] for one in asked} == plain


def test_stage_2_is_on_where_the_condition_says_so(finished, records):
    summary = finished[1]["conditions"]
    layers = 6
    for name in ("sharpv", "random", "uniform", "sharpv-budget", "random-threshold", "memory-only"):
        assert len(summary[name]["cost"]["similarity"]) == len(summary[name]["cost"]["dropped"]) == layers
        assert summary[name]["cost"]["similarity"][0] == pytest.approx(1)
    for name in ("dense", "sharpv-no-memory", "random-no-memory", "blind", "shuffled"):
        assert summary[name]["cost"]["similarity"] == summary[name]["cost"]["dropped"] == []
    for (_, name), record in records.items():
        held, dense = record["cache_bytes"], record["dense_cache_bytes"]
        assert held == dense if name in ("dense", "first-frame", "shuffled") else 0 < held <= dense
        assert len(record["ratios"]) == (0 if name in NOT_SCORED else 4)


OFF = ("dense", "blind", "first-frame", "middle-frame", "last-frame", "shuffled")
NOT_SCORED = [name for name in CONDITIONS if name in OFF or name.startswith(("random", "uniform"))]


def test_the_model_is_left_as_it_was(toy, finished):
    assert "generate" not in vars(toy.model)
    assert "get_video_features" not in vars(toy.model.base_model)
    sharpv.attach(toy.model).detach()


@pytest.fixture
def scripted(monkeypatch):
    """Puts answers into the model's mouth: a function of the condition's name and a question."""

    def install(script) -> None:
        now = [""]

        def noted(condition, clip, matched):
            now[0] = condition.name
            return on_clip(condition, clip, matched)

        monkeypatch.setattr(ask_clip, "on_clip", noted)
        # The request is made all the same, for its report.
        monkeypatch.setattr(
            ask_clip,
            "answer",
            lambda loaded, batch: [
                script(now[0], q) for q, _ in zip(batch.questions, answer(loaded, batch), strict=True)
            ],
        )

    return install


def test_who_knows_every_answer_is_always_right(toy, scripted):
    scripted(lambda name, question: question.answer)
    summary = run(toy, small(conditions=FEW))
    for found in summary["conditions"].values():
        assert found["micro"]["value"] == found["macro"] == found["caption_facts"] == found["agreement"] == 1
        assert found["micro"]["high"] == 1
    against = summary["conditions"]["sharpv"]["against_dense"]
    assert (against["better"], against["worse"], against["difference"], against["p"]) == (0, 0, 0, 1)


def test_who_knows_nothing_loses_for_certain(toy, scripted):
    scripted(lambda name, question: "" if name == "random" else question.answer)
    spec = small(conditions=FEW, families=("scene_change",), per_family=8)
    found = run(toy, spec)["conditions"]
    assert (found["dense"]["micro"]["right"], found["random"]["micro"]["right"]) == (8, 0)
    assert found["random"]["against_dense"]["difference"] == -1
    assert found["random"]["against_dense"]["p"] == pytest.approx(2 / 2**8)
    assert found["sharpv"]["against_random"]["difference"] == 1
    assert found["sharpv"]["against_random"]["better"] == 8
    assert found["random"]["agreement"] == 0


def test_free_text_is_compared_as_text(toy, scripted):
    scripted(lambda name, question: f" {question.answer.upper()} . " if name == "dense" else "perhaps")
    spec = small(conditions=FEW, families=("recog", "direction"), scoring="generate")
    found = run(toy, spec)["conditions"]
    assert (found["dense"]["micro"]["value"], found["sharpv"]["micro"]["value"]) == (1, 0)


def test_similarity_is_of_the_rows_that_have_one(toy):
    layer = LayerReport(layer=0, similarity=(None, 0.5), dropped=(False, True))
    request = Report(model="m", config=sharpv.SharpVConfig(), prompt_tokens=(9, 9), prompt_tokens_kept=(9, 9))
    cost = ask_clip._cost([replace(request, layers=(layer,))], PrefillFlops(toy.model))
    assert (cost["similarity"], cost["dropped"]) == ((0.5,), (0.5,))
    nothing = replace(layer, similarity=(None, None))
    assert ask_clip._cost([replace(request, layers=(nothing,))], PrefillFlops(toy.model))["similarity"] == ()


def test_a_file_shows_what_was_drawn(toy, records):
    """The codec may change what is kept, but hardly: a quarter of the tokens is far from that."""
    found = Records(None, {})
    spec = small(source="mp4", conditions=FEW)
    for sample in draw(spec, 1):
        drawn, read = render_clip(sample.scene), accuracy._film(sample, spec)
        assert read.shape == drawn.shape
        assert read.dtype == np.uint8
        assert np.abs(read.astype(int) - drawn).mean() < 6
        assert (read != drawn).any()
        unasked = accuracy._missing(spec, found, sample, None)
        accuracy._ask(toy, spec, found, sample, unasked, PrefillFlops(toy.model))
    for key, record in found.found.items():
        apart = record.tokens_kept - records[key]["tokens_kept"]
        assert abs(apart) < 4 * 64 / 4


def test_a_method_that_looks_at_attention_is_asked_like_any_other(toy):
    config = sharpv.SharpVConfig(retention=0.25, memory_threshold=None)
    looking = [Condition(name=name, method=name, config=config) for name in ("visionzip", "fastvid")]
    found = run(toy, small(conditions=(Condition(name="dense"), *looking)))["conditions"]
    for name in ("visionzip", "fastvid"):
        assert found[name]["cost"]["kept_share"] == {"mean": 0.25, "min": 0.25, "max": 0.25}
