"""Another method than SharpV's through both seams, in batches, and off again."""

import pytest
import torch

import sharpv
from sharpv.methods import METHODS, Random
from tests.hf.conftest import GREEDY, clip, distance, forward_loop, same_output
from tests.hf.test_session import state_of

STAGE_1 = sharpv.SharpVConfig(retention=0.3, memory_threshold=None)
OFF = sharpv.SharpVConfig(retention=1.0, memory_threshold=None)


@pytest.fixture(params=["random", "uniform", "vidcom2"])
def method(request) -> str:
    return request.param


def test_keeping_everything_is_bit_exact(model, batch, method):
    dense = model.generate(**batch, **GREEDY)
    with sharpv.attach(model, OFF, method=method) as session, torch.no_grad():
        assert same_output(dense, model.generate(**batch, **GREEDY))
        attached = model(**batch).logits
    assert torch.equal(attached, model(**batch).logits)
    report = session.reports[0]
    assert report.tokens_kept == report.tokens_total > 0


def test_the_inputs_seam_equals_the_hook_seam(model, batch, method):
    config = sharpv.SharpVConfig(retention=0.3)
    with sharpv.attach(model, config, method=method) as session, torch.no_grad():
        by_inputs = model.generate(**batch, **GREEDY)
        by_hooks = forward_loop(model, batch, GREEDY["max_new_tokens"])
    assert all(map(torch.equal, by_inputs.logits, by_hooks))
    one, other = session.reports
    for part in ("videos", "layers", "prompt_tokens", "prompt_tokens_kept", "cache_bytes", "method"):
        assert getattr(one, part) == getattr(other, part), part
    assert one.method == method
    for video in one.videos:
        assert video.tokens_kept == round(0.3 * video.tokens_total)
        assert video.ratios == ()
    assert sharpv.Report.from_json(one.to_json()) == one


def test_a_row_of_a_padded_batch_equals_the_row_alone(model, make_inputs, batch, method):
    model.to(torch.float64)
    with sharpv.attach(model, STAGE_1, method=method) as session:
        together = model.generate(**batch, **GREEDY)
        whole = session.report
        for row, question in enumerate(("What?", "What happens in the end?")):
            alone = model.generate(**make_inputs([clip(row)], questions=(question,)), **GREEDY)
            assert all(torch.equal(a[row], b[0]) for a, b in zip(together.logits, alone.logits, strict=True))
            assert session.report.videos[0].kept == whole.videos[row].kept


def test_every_method_keeps_what_it_is_asked_for(model, inputs):
    for name in METHODS:
        with sharpv.attach(model, STAGE_1, method=name) as session:
            model.generate(**inputs, max_new_tokens=1)
        assert session.report.method == name
        assert session.report.tokens_kept == round(0.3 * session.report.tokens_total)


def test_several_videos_in_a_row_have_a_budget_each(model, make_inputs, method):
    with sharpv.attach(model, STAGE_1, method=method) as session:
        model.generate(**make_inputs([clip(0), clip(1, frames=6)], [clip(2)]), max_new_tokens=1)
    assert [video.row for video in session.report.videos] == [0, 0, 1]
    assert all(video.tokens_kept == round(0.3 * video.tokens_total) for video in session.report.videos)


def test_prune_inputs_equals_an_attached_session(model, batch, method):
    with sharpv.attach(model, STAGE_1, method=method):
        attached = model.generate(**batch, **GREEDY)
    pruned = sharpv.prune_inputs(model, batch, STAGE_1, method=method)
    assert distance(model.generate(**pruned, **GREEDY), attached) == 0


def test_a_detached_model_is_as_it_was(model, inputs, method):
    state = state_of(model)
    with sharpv.attach(model, STAGE_1, method=method):
        model.generate(**inputs, **GREEDY)
    assert state_of(model) == state


def test_the_seed_of_a_pruner_of_the_callers_own_counts(model, inputs):
    kept = []
    for seed in (0, 0, 1):
        with sharpv.attach(model, STAGE_1, method=Random(seed)) as session:
            model.generate(**inputs, max_new_tokens=1)
        kept.append(session.report.videos[0].kept)
    assert kept[0] == kept[1] != kept[2]


def test_what_a_method_cannot_follow_is_refused_before_anything_changes(model, inputs, method):
    state = state_of(model)
    with pytest.raises(sharpv.InputError, match="needs to know how many tokens to keep"):
        sharpv.attach(model, method=method)
    with pytest.raises(sharpv.InputError, match="needs to know how many tokens to keep"):
        sharpv.prune_inputs(model, inputs, method=method)
    with pytest.raises(sharpv.InputError, match="must be one of sharpv, random, uniform"):
        sharpv.attach(model, method="nearest")
    assert state_of(model) == state
    sharpv.attach(model).detach()
