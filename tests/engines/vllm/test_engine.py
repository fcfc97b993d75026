"""SharpV in real vLLM on the CPU, beside stock vLLM and transformers."""

import pytest
import torch

from sharpv import SharpVConfig, keep_mask
from tests.engines.vllm.conftest import ASKS, REPEATS
from tests.engines.vllm.toys import DEFAULT_KEEP, NUM_TOKENS, logprobs, twin

MROPE = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# The prompt is the same, and float32 adds in another order where a pass of the LLM has other rows: one that
# reads the end of a prompt after the prefix cache, a chunk, or a batch. Logprobs here are about 4. What runs
# with the same rows is held to be identical.
ROUNDING = 1e-4
WITH_VIDEO = [name for name, ask in ASKS.items() if set(ask.media) - {"image"}]
# Those that read their whole prompt, not a part of it from the prefix cache.
FRESH = [name for name in WITH_VIDEO if name not in REPEATS]
BUDGETS = [name for name in WITH_VIDEO if ASKS[name].keep != "auto"]


def visual_tokens(family, record, checkpoint):
    token = twin(family, checkpoint(family)).video_token
    return record.prompt.count(token)


def sizes(family, ask):
    """Returns, for each of the clips of a request, the frames that the LLM sees and the tokens of each."""
    if family == "llava_onevision":
        return [(ask.frames, 16)] * len(ask.videos)
    # Qwen3-VL's processor spreads its pixels over the whole clip.
    tokens = 4 if (family, ask.frames) == ("qwen3_vl", 16) else 16
    return [(ask.frames // 2, tokens)] * len(ask.videos)


@pytest.mark.parametrize("name", BUDGETS)
def test_a_share_is_exact_to_the_token(family, answers, checkpoint, name):
    ask = ASKS[name]
    keep = DEFAULT_KEEP if ask.keep is None else ask.keep
    expected = sum(max(round(keep * n * f), n) for n, f in sizes(family, ask))
    newlines = len(ask.videos) if family == "llava_onevision" else 0
    assert visual_tokens(family, answers(family, "whole").alone[name], checkpoint) == expected + newlines


def kept(features, number, reference, n, f):
    """Returns bool `[n f]`, what core keeps of one video, whose features may go on beyond the LLM's."""
    scored = features[: n * f, : reference.dim].view(n, f, -1)
    return keep_mask(scored, SharpVConfig(retention=int(number) / (n * f))).flatten()


def masks(family, record, ask, checkpoint):
    """Returns bool `[n f]` of each video of a request, in order."""
    reference = twin(family, checkpoint(family))
    numbered = [call for call in record.embedded if NUM_TOKENS in call[0]]
    videos = [
        (features.flatten(0, -2), number)
        for given, _, dense in numbered
        for features, number in zip(dense, given[NUM_TOKENS][:, 0], strict=True)
    ]
    shapes = sizes(family, ask)
    return [kept(*video, reference, *shape) for video, shape in zip(videos, shapes, strict=True)]


@pytest.mark.parametrize("name", FRESH)
def test_what_is_kept_is_what_core_keeps_of_the_same_features(family, answers, checkpoint, name):
    record, ask = answers(family, "whole").alone[name], ASKS[name]
    calls = [call for call in record.embedded if NUM_TOKENS in call[0]]
    returned = [video for _, videos, _ in calls for video in videos]
    dense = [video.flatten(0, -2) for _, _, videos in calls for video in videos]
    for video, features, mask in zip(returned, dense, masks(family, record, ask, checkpoint), strict=True):
        newline = features[len(mask) :]
        expected = torch.cat([features[: len(mask)][mask], newline])
        assert torch.equal(seen(video[:, : features.shape[1]], len(expected)), expected)


def seen(video, number):
    """Rows of a pruned video that stand for something seen: Qwen3-VL has the time of frames between."""
    # Features for the first layers stand behind those of visual tokens only.
    return video if len(video) == number else video[video[:, video.shape[1] // 2 :].any(-1)]


@pytest.mark.parametrize("name", FRESH)
def test_every_token_has_the_position_of_the_dense_prompt(family, answers, checkpoint, name):
    ours, dense = answers(family, "whole").alone[name], answers(family, "stock").alone[name]
    token = twin(family, checkpoint(family)).video_token
    if family == "llava_onevision":
        assert torch.equal(ours.positions[0], torch.arange(ours.positions.shape[1]))
        return
    stays = torch.tensor(dense.prompt) != token
    stays[~stays] = torch.cat(masks(family, ours, ASKS[name], checkpoint))
    prompt, answered = dense.positions.split([len(stays), dense.positions.shape[1] - len(stays)], dim=1)
    assert torch.equal(ours.positions, torch.cat([prompt[:, stays], answered], dim=1))


@pytest.mark.parametrize("name", ["text", "image", *(name for name in BUDGETS if name in FRESH)])
def test_it_answers_as_transformers_with_the_same_tokens(family, answers, checkpoint, name):
    record = answers(family, "whole").alone[name]
    positions = record.positions[:, : len(record.prompt)]
    expected = twin(family, checkpoint(family)).answer(ASKS[name], positions)
    assert len(record.prompt) == expected.length
    assert record.tokens == expected.tokens
    assert record.logprobs == pytest.approx(expected.logprobs, abs=1e-3)


@pytest.mark.parametrize("name", ["text", "image", "all"])
def test_what_is_not_pruned_is_as_in_stock_vllm(family, answers, name):
    ours, theirs = answers(family, "whole").alone[name], answers(family, "stock").alone[name]
    assert len(ours.prompt) == len(theirs.prompt)
    assert torch.equal(ours.positions, theirs.positions)
    assert ours.tokens == theirs.tokens
    assert ours.logprobs == pytest.approx(theirs.logprobs, abs=ROUNDING)


def test_a_repeat_is_found_in_the_prefix_cache_and_answers_the_same(family, answers):
    alone = answers(family, "whole").alone
    first, again, more = (alone[name] for name in ("cut", *REPEATS))
    ends = zip(reversed(first.prompt), reversed(alone["text"].prompt), strict=False)
    after = next(i for i, (one, other) in enumerate(ends) if one != other)
    assert first.cached == 0
    # The whole video was in the cache, with all that stands for it.
    assert more.cached == again.cached >= len(first.prompt) - after
    assert more.prompt == again.prompt == first.prompt
    assert more.tokens == again.tokens == first.tokens
    assert more.logprobs == again.logprobs
    assert again.logprobs == pytest.approx(first.logprobs, abs=ROUNDING)


def test_a_chunk_ends_inside_a_video(family, answers, checkpoint):
    token = twin(family, checkpoint(family)).video_token
    record = answers(family, "chunked").alone["led"]
    assert any(record.prompt[start - 1 : start + 1] == [token, token] for start in record.passes[1:])


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


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"], indirect=True)
def test_a_cut_gets_more_tokens_and_no_frame_gets_all_or_none(family, answers, checkpoint):
    from vllm.multimodal.video_prune.evs import compute_retention_mask  # noqa: PLC0415

    record, ask = answers(family, "whole").alone["cut"], ASKS["cut"]
    ((n, f),) = sizes(family, ask)
    (mask,) = masks(family, record, ask, checkpoint)
    ours = mask.view(n, f).sum(1)
    ((_, _, (features,)),) = record.embedded
    features = features.flatten(0, -2)[: n * f]
    evs = (
        compute_retention_mask(features, (n, 4, f // 4), 1, q=1 - int(mask.sum()) / (n * f)).view(n, f).sum(1)
    )
    assert ours.sum() == evs.sum()
    others = [t for t in range(n) if t not in (0, n // 2)]
    assert ours[n // 2] > max(ours[others].max(), evs[others].max())
    assert ours.min() >= 1
    # Theirs spends a whole frame on the first, whatever it shows.
    assert evs[0] == f > ours[0]
