"""Reuse in the benches: what is asked about is what a session with reuse would have encoded."""

import json

import pytest
import torch

import sharpv
from sharpv.bench.ablations import RANDOM_PATCHES, REUSE_THRESHOLDS, choose_ablations
from sharpv.bench.accuracy import draw, run
from sharpv.bench.asking import answer, as_video, batches
from sharpv.bench.chosen import plan_on_clip
from sharpv.bench.contest_table import contest_rows
from sharpv.bench.reuse import RandomPatches
from sharpv.cli.contest_show import REUSE, besides, table_of
from sharpv.config import VisionReuse
from sharpv.core import plan_reuse
from sharpv.hf.reuse.encoder import Reuse
from sharpv.shapesqa import render_clip
from tests.bench.conftest import small

CONDITIONS = choose_ablations(["reuse"])
FRAMES = torch.zeros(9, 3, 40, 40)


@pytest.fixture(scope="module")
def asked(toy, tmp_path_factory) -> tuple[dict, dict]:
    """The summary of a small run, and its records by clip and condition."""
    folder = tmp_path_factory.mktemp("reuse")
    summary = run(toy, small(conditions=CONDITIONS), folder)
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return summary, {(record["clip"], record["condition"]): record for record in records}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_random_patches_are_a_plan(share):
    plan = RandomPatches(share, seed=3)(FRAMES, 4, VisionReuse(), 4)
    n, f = plan.source.shape
    assert (n, f) == (9, 100)
    assert plan.computed[0].all()
    assert (
        abs(float(plan.computed[1:].float().mean()) - share)
        < 4 * (share * (1 - share) / (8 * f)) ** 0.5 + 1e-9
    )
    # A source is a row that is computed, and the latest of its place.
    assert plan.computed.gather(0, plan.source).all()
    latest = torch.where(plan.computed, torch.arange(n).unsqueeze(1), -1).cummax(0).values
    assert torch.equal(plan.source, latest)


def test_a_draw_is_the_clips_own_and_the_rule_is_left_alone():
    drawn = RandomPatches(0.3)
    first, again, other = (plan_on_clip(drawn, name) for name in ("a", "a", "b"))
    assert first == again != other
    assert plan_on_clip(None, "a") is plan_reuse


def test_the_ablation_pairs_each_encoding_with_all_patches():
    pairs = {each.name: each for each in CONDITIONS if each.config.reuse is not None}
    names = [f"reuse={t:g}" for t in REUSE_THRESHOLDS] + [f"random-patches={RANDOM_PATCHES:g}"]
    assert set(pairs) == {*names, *(f"sharpv+{name}" for name in names)}
    for name in names:
        assert pairs[name].whole == "dense"
        assert pairs[f"sharpv+{name}"].whole == "sharpv"
        assert not pairs[name].config.prunes
        assert pairs[f"sharpv+{name}"].config.prunes_tokens
    assert [pairs[f"reuse={t:g}"].config.reuse.threshold for t in REUSE_THRESHOLDS] == list(REUSE_THRESHOLDS)


def test_answers_are_those_of_a_session_with_reuse(toy, asked):
    wanted = ("reuse=12", "sharpv+reuse=12", "sharpv+reuse=16")
    for sample in draw(small(), 1):
        made = batches(toy, as_video(render_clip(sample.scene)), sample.questions, small())
        for condition in (each for each in CONDITIONS if each.name in wanted):
            with sharpv.attach(toy.model, condition.config) as session:
                said = {
                    question.text: text
                    for batch in made
                    for question, text in zip(batch.questions, answer(toy, batch), strict=True)
                }
            record = asked[1][sample.name, condition.name]
            assert {one["question"]: one["said"] for one in record["answers"]} == said
            video = session.report.videos[0]
            assert record["tokens_kept"] == video.tokens_kept
            assert (record["patches_encoded"], record["patches_total"]) == (
                video.reuse.rows_computed,
                video.reuse.rows_total,
            )


def test_features_differ_by_condition_and_each_plan_is_made_once_per_clip(toy, monkeypatch):
    plans = []
    original = Reuse._plan
    monkeypatch.setattr(Reuse, "_plan", lambda self, frames: plans.append(self) or original(self, frames))
    run(toy, small(conditions=CONDITIONS))
    clips = len(draw(small(), 1))
    assert len(plans) == clips * (len(REUSE_THRESHOLDS) + 1)
    assert all(reuse.settings.threshold in (*REUSE_THRESHOLDS, VisionReuse().threshold) for reuse in plans)


def test_what_was_encoded_is_in_the_summary_and_in_the_table(asked):
    summary, records = asked
    found = summary["conditions"]
    assert found["dense"]["cost"]["patch_share"] is None
    assert found["dense"]["against_whole"] is None
    shares = [
        record["patches_encoded"] / record["patches_total"]
        for (_, condition), record in records.items()
        if condition == "reuse=12"
    ]
    assert found["reuse=12"]["cost"]["patch_share"]["mean"] == pytest.approx(sum(shares) / len(shares))
    assert found["sharpv+reuse=12"]["cost"]["patch_share"] == found["reuse=12"]["cost"]["patch_share"]
    assert found["sharpv+reuse=12"]["against_whole"]["n"] == found["sharpv"]["micro"]["n"]
    rows = contest_rows([("", summary)])
    assert REUSE[0] in besides(rows)
    assert REUSE[0] not in besides([row for row in rows if row.patches is None])
    cells = dict(zip([row.condition for row in rows], table_of(rows, REUSE)[1], strict=True))
    assert cells["dense"] == ["-", "-"]
    assert cells["random-patches=0.3"][1] != "-"
    plain = {each.name for each in CONDITIONS if each.config.reuse is None}
    assert all(not record["patches_total"] for (_, name), record in records.items() if name in plain)
