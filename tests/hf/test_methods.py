"""Another method than SharpV's through both seams, in batches, and off again."""

import pytest
import torch

import sharpv
from sharpv.methods import BEFORE_LLM, Random, Selection, needs_attention
from tests.hf.conftest import GREEDY, clip, distance, forward_loop, same_output
from tests.hf.test_session import state_of

STAGE_1 = sharpv.SharpVConfig(retention=0.3, memory_threshold=None)
OFF = sharpv.SharpVConfig(retention=1.0, memory_threshold=None)


class Averages:
    """Keeps the tokens of another method, each with the mean of the whole video added."""

    def __init__(self, name: str) -> None:
        self.inner = BEFORE_LLM[name]
        self.name = f"averages of {name}"
        self.needs_attention = needs_attention(self.inner)

    def check(self, config) -> None:
        self.inner.check(config)

    def mask(self, *given) -> torch.Tensor:
        return self.inner.select(*given).mask

    def select(self, features, *given) -> Selection:
        mask = self.mask(features, *given)
        return Selection(mask, merged=features[mask].float() + features.float().mean((0, 1)))


LOOKING = ("visionzip", "prumerge", "fastvid")
"""Those that look at the attention of the vision tower."""


@pytest.fixture(params=["random", "uniform", "vidcom2", "prunevid", "flashvid", *LOOKING])
def method(request) -> str:
    return request.param


def test_a_retention_by_itself_takes_the_place_of_the_configurations(model, batch):
    config = sharpv.SharpVConfig(retention=0.9, memory_threshold=None)
    with sharpv.attach(model, config, method="uniform", retention=0.25) as session:
        short = model.generate(**batch, **GREEDY)
    assert session.config == sharpv.SharpVConfig(retention=0.25, memory_threshold=None)
    assert session.report.tokens_kept == round(0.25 * session.report.tokens_total)
    pruned = sharpv.prune_inputs(model, batch, method="uniform", retention=0.25)
    assert pruned["attention_mask"].sum().item() == sum(session.report.prompt_tokens_kept)
    with sharpv.attach(model, session.config, method="uniform"):
        assert same_output(short, model.generate(**batch, **GREEDY))


def test_a_retention_by_itself_is_checked(model, batch):
    with pytest.raises(ValueError, match=r"retention is 1.5: it must be 'adaptive' or a number in \(0, 1\]"):
        sharpv.attach(model, retention=1.5)
    with pytest.raises(ValueError, match=r"threshold=1.6 and retention=0.2"):
        sharpv.prune_inputs(model, batch, sharpv.SharpVConfig(threshold=1.6), retention=0.2)


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
    for name in BEFORE_LLM:
        with sharpv.attach(model, STAGE_1, method=name) as session:
            model.generate(**inputs, max_new_tokens=1)
        assert session.report.method == name
        report = session.report
        assert report.tokens_kept == round(0.3 * report.tokens_total)
        assert report.layer_share == report.tokens_kept / report.tokens_total


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
    config = sharpv.SharpVConfig(threshold=1.6)
    reason = "threshold would have no effect" if method == "prumerge" else "needs to know how many tokens"
    with pytest.raises(sharpv.InputError, match=reason):
        sharpv.attach(model, config, method=method)
    with pytest.raises(sharpv.InputError, match=reason):
        sharpv.prune_inputs(model, inputs, config, method=method)
    with pytest.raises(sharpv.InputError, match="must be one of sharpv, random, uniform"):
        sharpv.attach(model, method="nearest")
    assert state_of(model) == state
    sharpv.attach(model).detach()


MERGING = pytest.mark.parametrize("name", ["prunevid", "holitom", "framefusion", "flashvid", *LOOKING])


class MaskOnly(Averages):
    """The tokens of another method with the values that they had."""

    def select(self, *given) -> Selection:
        return Selection(self.mask(*given))


def embeds_of(model, call) -> torch.Tensor:
    """What the decoder is fed during a call."""
    seen = []
    decoder = model.get_decoder()
    handle = decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["inputs_embeds"]), with_kwargs=True
    )
    call()
    handle.remove()
    return seen[0]


@MERGING
def test_merged_values_reach_the_llm(model, batch, name):
    with sharpv.attach(model, STAGE_1, method=name) as session, torch.no_grad():
        merged = model.generate(**batch, **GREEDY)
        report = session.report
    with sharpv.attach(model, STAGE_1, method=MaskOnly(name)) as session:
        pruned = model.generate(**batch, **GREEDY)
        assert [video.kept for video in session.report.videos] == [video.kept for video in report.videos]
        assert not any(video.merged for video in session.report.videos)
    assert distance(merged, pruned) > 1e-6
    assert all(video.merged for video in report.videos)
    assert sharpv.Report.from_json(report.to_json()) == report


@MERGING
def test_the_seams_agree_on_merged_values_to_the_bit(model, batch, name):
    config = sharpv.SharpVConfig(retention=0.3)
    with sharpv.attach(model, config, method=name) as session, torch.no_grad():
        by_inputs = model.generate(**batch, **GREEDY)
        by_hooks = forward_loop(model, batch, GREEDY["max_new_tokens"])
    assert all(map(torch.equal, by_inputs.logits, by_hooks))
    assert session.reports[0].videos == session.reports[1].videos


def test_the_values_that_a_method_gives_stand_in_place_of_the_tokens(model, batch):
    keeps = MaskOnly("uniform")
    with sharpv.attach(model, STAGE_1, method=keeps):
        own = embeds_of(model, lambda: model.generate(**batch, max_new_tokens=1))
    with sharpv.attach(model, STAGE_1, method=Averages("uniform")), torch.no_grad():
        by_inputs = embeds_of(model, lambda: model.generate(**batch, max_new_tokens=1))
    whole = embeds_of(model, lambda: model(**batch))
    visual = batch["input_ids"] == model.config.video_token_id
    pruned = sharpv.prune_inputs(model, batch, STAGE_1, method=keeps)
    places = pruned["input_ids"][:, -own.shape[1] :] == model.config.video_token_id
    for row in range(2):
        separators = int(model.config.model_type == "llava_onevision")
        tokens = whole[row][visual[row]]
        mean = tokens[: len(tokens) - separators].mean(0)
        gap = (by_inputs - own)[row]
        shown = places[row].nonzero().flatten()
        frames = shown[: len(shown) - separators]
        torch.testing.assert_close(gap[frames], mean.expand(len(frames), -1), rtol=1e-4, atol=1e-6)
        gap[frames] = 0
        assert not gap.any()


def test_values_are_replaced_also_where_no_token_goes(model, inputs):
    # A bare forward pass with nothing to shorten.
    config = sharpv.SharpVConfig(retention=0.999, memory_threshold=None)
    dense = model(**inputs).logits
    total = int((inputs["input_ids"] == model.config.video_token_id).sum())
    assert round(0.999 * total) == total
    with sharpv.attach(model, config, method=Averages("uniform")), torch.no_grad():
        by_hooks = model(**inputs, logits_to_keep=1).logits
        by_inputs = model.generate(**inputs, **GREEDY).logits[0]
    assert torch.equal(by_hooks[:, -1], by_inputs)
    assert not torch.equal(by_hooks[:, -1], dense[:, -1])


@pytest.mark.parametrize("rows", [1, 2])
def test_beams_read_merged_values(model, inputs, batch, rows):
    requests = (inputs, batch)[rows - 1]
    beams = {**GREEDY, "num_beams": 3, "num_return_sequences": 2}
    with sharpv.attach(model, STAGE_1, method="prunevid"):
        attached = model.generate(**requests, **beams)
    pruned = sharpv.prune_inputs(model, requests, STAGE_1, method="prunevid")
    by_hand = model.generate(**pruned, **beams)
    new = GREEDY["max_new_tokens"]
    assert torch.equal(attached.sequences[:, -new:], by_hand.sequences[:, -new:])
    torch.testing.assert_close(attached.sequences_scores, by_hand.sequences_scores)


def test_merged_values_have_the_dtype_of_the_model_and_are_written_into_nothing_given(model, batch):
    model.to(torch.bfloat16)
    given = []

    class Watched(Averages):
        def select(self, features, *others) -> Selection:
            given.append((features, features.clone()))
            return super().select(features, *others)

    before = {name: tensor.clone() for name, tensor in batch.items()}
    with sharpv.attach(model, STAGE_1, method=Watched("uniform")), torch.no_grad():
        by_inputs = embeds_of(model, lambda: model.generate(**batch, max_new_tokens=1))
        by_hooks = embeds_of(model, lambda: model(**batch))
    assert by_inputs.dtype == by_hooks.dtype == torch.bfloat16
    assert len(given) == 4
    assert all(torch.equal(features, copy) for features, copy in given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in batch.items())


def test_prumerge_lets_the_attention_decide(model, batch):
    config = sharpv.SharpVConfig(memory_threshold=None)
    with sharpv.attach(model, config, method="prumerge") as session, torch.no_grad():
        by_inputs = model.generate(**batch, **GREEDY)
        by_hooks = forward_loop(model, batch, GREEDY["max_new_tokens"])
    assert all(map(torch.equal, by_inputs.logits, by_hooks))
    for video in session.reports[0].videos:
        counts = [sum(frame) for frame in video.kept]
        assert counts == [max(round(ratio * video.tokens_per_frame), 1) for ratio in video.ratios]
    assert session.reports[0].videos == session.reports[1].videos
