"""What an audit says of reuse, against features of the same request without."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import sharpv
from sharpv import VisionReuse
from sharpv.core import ReusePlan, score, select
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.hf.reuse import encoder
from sharpv.hf.reuse.audit import audited_frames
from tests.hf.conftest import GREEDY, Config, clip, same_output
from tests.hf.test_reuse_packing import all_own, random_source
from tests.hf.test_reuse_session import STAGE_1, SUPPORTED, families, still

AUDITED = VisionReuse(max_share=1.0, audit=2)


@pytest.mark.parametrize(
    ("count", "frames"),
    [(0, []), (1, [5]), (2, [3, 7]), (3, [2, 5, 7]), (4, [2, 4, 6, 8]), (9, [1, 2, 3, 4, 5, 6, 7, 8])],
)
def test_frames_are_chosen_evenly_from_those_that_reuse(count, frames):
    source = torch.zeros(10, 4, dtype=torch.long)
    source[9] = 9
    assert audited_frames(ReusePlan(source), count) == frames


def test_frames_in_full_are_not_audited():
    assert audited_frames(ReusePlan(all_own(4, 3)), 2) == []
    source = random_source(6, 10)
    chosen = audited_frames(ReusePlan(source), 6)
    assert chosen == [t for t in range(6) if not bool((source[t] == t).all())] == [1, 2, 3, 5]


def features(model: Any, inputs: dict[str, Any], video: Any) -> torch.Tensor:
    """Features of a request with one video, `[n, f, d]`, as the encoder of the moment makes them."""
    with torch.no_grad():
        encoded, _ = encode_video(model.base_model, FAMILIES[model.config.model_type], inputs)
    tokens = video.frames * video.tokens_per_frame
    return flatten(encoded, tokens + video.separators)[:tokens].unflatten(0, (video.frames, -1))


@families(SUPPORTED)
def test_an_audit_compares_with_the_features_without_reuse(model, make_inputs, monkeypatch):
    inputs = make_inputs([clip()])
    config = Config(vision_reuse=AUDITED, **STAGE_1)
    seen = []
    original = encoder.audit
    monkeypatch.setattr(encoder, "audit", lambda *given: seen.append(given) or original(*given))
    with sharpv.attach(model, config) as session:
        model.generate(**inputs, **GREEDY)
        (video,) = session.report.videos
    found, (reused, dense, whole, frames, *_) = video.reuse.audit, seen[0]
    exact = features(model, inputs, video)
    torch.testing.assert_close(dense, exact[whole], rtol=1e-4, atol=1e-5)
    alike = torch.cosine_similarity(reused[frames].double(), exact[frames].double(), dim=-1).flatten()
    assert found.frames == len(frames) == 2
    assert found.cosine_mean == pytest.approx(float(alike.mean()), abs=1e-6)
    low = alike.sort().values
    assert low[int(0.05 * (len(low) - 1))] - 1e-6 <= found.cosine_p5 <= low[-(-len(low) // 20) + 1] + 1e-6
    # T of a frame hangs on the one before, which must be without reuse, too.
    times = [score(values).temporal[frames] for values in (reused, exact)]
    assert found.temporal_error == pytest.approx(float((times[0] - times[1]).abs().mean()), abs=1e-5)
    assert found.temporal_error > 0
    assert video.reuse.full_frames < video.frames
    grid = None if video.leading else video.grid
    kept = [select(score(values), config, grid, values)[frames] for values in (reused, exact)]
    overlap = float((kept[0] & kept[1]).sum() / kept[1].sum())
    assert found.kept_overlap == pytest.approx(overlap, abs=0.05)


@families(SUPPORTED)
def test_an_audit_changes_nothing_else(model, make_inputs):
    inputs = make_inputs([clip(0)], [clip(1)])
    outputs, kept = [], []
    for reuse in (AUDITED, replace(AUDITED, audit=0)):
        with sharpv.attach(model, Config(vision_reuse=reuse)) as session:
            outputs.append(model.generate(**inputs, **GREEDY))
            kept.append([(video.kept, video.reuse.computed) for video in session.report.videos])
            audits = [video.reuse.audit for video in session.report.videos]
            assert [audit is not None for audit in audits] == [reuse.audit > 0] * 2
    assert same_output(*outputs)
    assert kept[0] == kept[1]


@families(SUPPORTED)
def test_each_video_of_a_batch_is_audited_as_alone(model, make_inputs):
    clips, audits = [clip(0), np.roll(clip(1), 40, axis=1)], []
    for rows in ([[clips[0]], [clips[1]]], [[clips[0]]], [[clips[1]]]):
        with sharpv.attach(model, Config(vision_reuse=AUDITED, **STAGE_1)) as session:
            model.generate(**make_inputs(*rows), **GREEDY)
            audits += [video.reuse.audit for video in session.report.videos]
    assert audits[0] != audits[1]
    for together, alone in zip(audits[:2], audits[2:], strict=True):
        assert together.cosine_mean == pytest.approx(alone.cosine_mean, abs=1e-5)
        assert together.temporal_error == pytest.approx(alone.temporal_error, abs=1e-4)


@families(SUPPORTED)
def test_a_still_clip_is_as_it_would_be(model, make_inputs):
    with sharpv.attach(model, Config(vision_reuse=AUDITED)) as session:
        model.generate(**make_inputs([still()]), **GREEDY)
    (video,) = session.report.videos
    assert video.reuse.audit.cosine_mean == pytest.approx(1, abs=1e-6)
    assert video.reuse.audit.cosine_p5 == pytest.approx(1, abs=1e-6)
    assert video.reuse.audit.temporal_error <= 1e-3


@families(["llava_onevision", "qwen2_5_vl"])
def test_what_is_not_known_is_not_said(model, inputs):
    reports = []
    for method, more in (("fastv", STAGE_1), ("sharpv", {"retention": 1.0})):
        with sharpv.attach(model, Config(vision_reuse=AUDITED, **more), method=method) as session:
            model.generate(**inputs, **GREEDY)
            reports.append(session.report.videos[0].reuse)
    assert [report.audit.kept_overlap for report in reports] == [None, None]
    changed = VisionReuse(max_share=1e-6, audit=2)
    with sharpv.attach(model, Config(vision_reuse=changed)) as session:
        model.generate(**inputs, **GREEDY)
    assert session.report.videos[0].reuse.audit is None
