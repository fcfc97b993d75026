"""SharpV in real vLLM on the CPU, beside stock vLLM and transformers."""

import pytest
import torch

from sharpv import SharpVConfig, keep_mask
from tests.engines.vllm.conftest import ASKS
from tests.engines.vllm.toys import DEFAULT_KEEP, NUM_TOKENS, logprobs, twin

MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# The prompt is the same, the order of additions in float32 is not where a chunk, a block of the prefix cache
# or a batch ends elsewhere; logprobs here are about 4.
ROUNDING = 1e-4
WITH_VIDEO = [name for name, ask in ASKS.items() if set(ask.media) - {"image"}]
BUDGETS = [name for name in WITH_VIDEO if ASKS[name].keep != "auto"]


def visual_tokens(family, record, checkpoint):
    token = twin(family, checkpoint(family)).video_token
    return record.prompt.count(token)


def sizes(family, ask):
    """Returns, for each of the clips of a request, the frames that the LLM sees and the tokens of each."""
    if family == "llava_onevision":
        return [(ask.frames, 16)] * len(ask.videos)
    # Qwen3-VL's processor spreads its pixels over the whole clip.
    tokens = 9 if (family, ask.frames) == ("qwen3_vl", 16) else 16
    return [(ask.frames // 2, tokens)] * len(ask.videos)


@pytest.mark.parametrize("name", BUDGETS)
def test_a_share_is_exact_to_the_token(family, answers, checkpoint, name):
    ask = ASKS[name]
    keep = DEFAULT_KEEP if ask.keep is None else ask.keep
    expected = sum(max(round(keep * n * f), n) for n, f in sizes(family, ask))
    newlines = len(ask.videos) if family == "llava_onevision" else 0
    assert visual_tokens(family, answers(family, "whole").alone[name], checkpoint) == expected + newlines


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_what_is_kept_is_what_core_keeps_of_the_same_features(family, answers, checkpoint, name):
    reference = twin(family, checkpoint(family))
    for given, returned, dense in answers(family, "whole").alone[name].embedded:
        if NUM_TOKENS not in given:
            continue
        for video, features, number in zip(returned, dense, given[NUM_TOKENS], strict=True):
            n, f = sizes(family, ASKS[name])[0]
            features, newline = (features.flatten(0, -2)[: n * f], features.flatten(0, -2)[n * f :])
            scored = features.view(n, f, -1)[..., : reference.dim]
            mask = keep_mask(scored, SharpVConfig(retention=int(number) / (n * f)))
            kept = torch.cat([features[mask.flatten()], newline])
            assert torch.equal(visual_rows(video, kept), kept)


def visual_rows(video, kept):
    """Rows of a pruned video that stand for something seen: Qwen3-VL has the time of frames between."""
    features = video[:, : kept.shape[1]]
    if len(features) == len(kept):
        return features
    # Features for the first layers stand behind those of visual tokens only.
    return features[features[:, features.shape[1] // 2 :].any(-1)]


@pytest.mark.parametrize("name", ["text", "image", "cut", "all", "few", "two", "first", "last", "long"])
def test_it_answers_as_transformers_with_the_same_tokens(family, answers, checkpoint, name):
    record = answers(family, "whole").alone[name]
    expected = twin(family, checkpoint(family)).answer(ASKS[name])
    assert len(record.prompt) == expected.length
    if family in MROPE and expected.positions is not None:
        assert torch.equal(record.positions[:, : expected.length], expected.positions)
    assert record.tokens == expected.tokens
    assert record.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


@pytest.mark.parametrize("name", ["text", "image", "all"])
def test_what_is_not_pruned_is_as_in_stock_vllm(family, answers, name):
    ours, theirs = answers(family, "whole").alone[name], answers(family, "stock").alone[name]
    assert ours.prompt == theirs.prompt
    assert torch.equal(ours.positions[:, -1], theirs.positions[:, -1])
    assert ours.tokens == theirs.tokens
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=ROUNDING)


def test_a_repeat_is_found_in_the_prefix_cache_and_answers_the_same(family, answers):
    first, again = answers(family, "whole").alone["cut"], answers(family, "whole").alone["again"]
    assert first.cached == 0
    assert again.cached > 0
    assert again.prompt == first.prompt
    assert again.tokens == first.tokens
    assert again.logprobs == pytest.approx(first.logprobs, abs=ROUNDING)


@pytest.mark.parametrize("name", WITH_VIDEO)
def test_chunks_change_nothing(family, answers, name):
    whole, chunked = answers(family, "whole").alone[name], answers(family, "chunked").alone[name]
    assert chunked.prompt == whole.prompt
    assert torch.equal(chunked.positions[:, chunked.cached :], whole.positions[:, whole.cached :])
    assert chunked.tokens == whole.tokens
    assert chunked.logprobs == pytest.approx(whole.logprobs, abs=ROUNDING)


def test_requests_of_one_batch_have_their_own_shares(family, answers):
    alone = answers(family, "chunked").alone
    for name, output in answers(family, "chunked").together.items():
        assert list(output.prompt_token_ids) == alone[name].prompt
        assert list(output.outputs[0].token_ids) == alone[name].tokens
        assert logprobs(output) == pytest.approx(alone[name].logprobs, abs=ROUNDING)
