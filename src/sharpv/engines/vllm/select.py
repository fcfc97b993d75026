"""How many tokens of a video stay, known before it is encoded, and which, known after."""

import logging

import torch
from torch import Tensor

from sharpv.config import SharpVConfig, with_retention
from sharpv.core.scores import Scores, score
from sharpv.core.select import keep_mask, token_budget, token_counts
from sharpv.engines.vllm.options import AUTO, Options
from sharpv.errors import InputError

__all__ = ["adaptive_number", "kept_tokens", "number_of_tokens"]

logger = logging.getLogger(__name__)


def number_of_tokens(patches: Tensor, options: Options) -> int:
    """Says how many tokens of a video stay.

    vLLM lays out the prompt before it encodes the video, so the number cannot come from the features. A
    share is exact. `"auto"` estimates the adaptive number: the pixels under each token stand for its
    features, and `gain` times their ratios for r.

    Args:
        patches: `[n frames, f tokens, pixels]`, the pixels under each token, about in [-1, 1].
        options: of the request.

    Returns:
        At least 1, at most n f.
    """
    n, f, _ = patches.shape
    if options.keep != AUTO:
        return max(token_budget(n, f, with_retention(options.rule, options.keep)), 1)
    return max(adaptive_number(score(patches.float()).ratios, f, options.gain, options.rule), 1)


def adaptive_number(ratios: Tensor, f: int, gain: float = 1.0, rule: SharpVConfig | None = None) -> int:
    """Says how many tokens the adaptive mode keeps of a video whose ratios r are these times a gain.

    Args:
        ratios: float `[n]`, at least 0.
        f: tokens per frame.
        gain: what they are multiplied by, up to 1.
        rule: for `min_tokens_per_frame`.
    """
    blank = ratios.new_zeros(len(ratios), f)
    scores = Scores(blank, blank, blank, (gain * ratios).clamp(max=1))
    return int(token_counts(scores, rule or SharpVConfig()).sum())


def kept_tokens(
    features: Tensor, number: int, options: Options, grid: tuple[int, int] | None = None
) -> Tensor:
    """Says which tokens of a video stay: `sharpv.keep_mask` for exactly `number` of them.

    It never raises, since an error inside a model stops the whole engine: features that cannot be scored (a
    vision tower that overflowed) are thinned evenly, with a warning.

    Args:
        features: `[n frames, f tokens, d]`, after the projector.
        number: from `number_of_tokens`.
        options: of the server.
        grid: (rows, cols) of a frame's tokens, used by `coverage` only.

    Returns:
        bool `[n, f]`, with `number` true.
    """
    n, f, _ = features.shape
    try:
        return keep_mask(features, with_retention(options.rule, number / (n * f)), grid)
    except InputError as error:
        logger.warning("a video is thinned evenly, since its features cannot be scored: %s", error)
        mask = features.new_zeros(n * f, dtype=torch.bool)
        mask[torch.arange(number, device=mask.device) * (n * f) // number] = True
        return mask.view(n, f)
