"""How many tokens each frame keeps, and which: Visual SharpV (arXiv 2511.08003, section 3)."""

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.anchors import anchor_order, token_grid
from sharpv.core.diversity import diverse_mask
from sharpv.core.eager import eager
from sharpv.core.scores import Scores, score
from sharpv.errors import InputError

__all__ = ["RATIO_UNITS", "keep_mask", "select", "share_tokens", "token_budget", "token_counts", "top_mask"]

# r is known to this: a ratio that is a round number but for float32's rounding must not cost or gain a token.
RATIO_TOLERANCE = 1e-5
# A budget is shared in whole millionths of r, in whole numbers, so that frames with equal motion tie exactly.
RATIO_UNITS = 10**6


def keep_mask(features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None) -> Tensor:
    """Says which visual tokens of one video to keep: `score`, then `select`.

    `torch.compile` leaves `score` and `select` as they are, behind graph breaks.

    Args:
        features: `[n frames, f tokens, d]`, as for `score`.
        config: what to keep.
        grid: (rows, cols) of a frame's tokens, used by `coverage` only; None: the most square factors of f.

    Returns:
        bool `[n, f]` on the device of the features, true for kept tokens.

    Raises:
        InputError: features that `score` refuses, or a grid that does not hold f tokens.
    """
    return select(score(features, config.spatial_weight), config, grid, features)


@eager
@torch.no_grad()
def select(
    scores: Scores,
    config: SharpVConfig,
    grid: tuple[int, int] | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """Picks the tokens to keep from the scores of one video.

    Each frame keeps its `token_counts` most important tokens; the lower index wins ties. With `coverage` c,
    the first `round(c k_t)` positions of `anchor_order` go first, whatever their importance; with
    `diversity`, `diverse_mask` chooses the others (neither is the paper's). With `bucket` b, the most
    important of the other tokens, whatever their frame, make the number of tokens a multiple of b, or all.

    Args:
        scores: from `score`, with `config.spatial_weight` already in their importance.
        config: what to keep.
        grid: (rows, cols) of a frame's tokens, used by `coverage` only; None: the most square factors of f.
        features: `[n, f, d]`, what was scored; read by `diversity` only.

    Returns:
        bool `[n, f]`, true for kept tokens.

    Raises:
        InputError: a grid that does not hold f tokens, or `diversity` without features.
    """
    rows, cols = token_grid(scores.importance.shape[1], grid)
    counts = token_counts(scores, config)
    anchored = _anchored(counts, config.coverage, anchor_order(rows, cols))
    if config.diversity:
        if features is None:
            raise InputError("got diversity=True and no features to compare: pass select(..., features=...)")
        mask = diverse_mask(features, scores.importance, anchored, counts)
    else:
        mask = top_mask(scores.importance.masked_fill(anchored, torch.inf), counts)
    return mask if config.bucket == 1 else _fill_bucket(mask, scores.importance, config.bucket)


def _anchored(counts: Tensor, coverage: float, order: tuple[int, ...]) -> Tensor:
    """Marks the anchors of each frame, bool `[n, f]`: the first `round(coverage k_t)` places of the order."""
    if not coverage:
        return counts.new_zeros(len(counts), len(order), dtype=torch.bool)
    ranks = torch.empty(len(order), dtype=torch.long)
    ranks[torch.tensor(order)] = torch.arange(len(order))
    return ranks.to(counts.device) < (counts.unsqueeze(-1).double() * coverage).round()


def top_mask(values: Tensor, counts: Tensor) -> Tensor:
    """Marks the largest values of each row; the lower index wins ties.

    Args:
        values: `[n, f]`, no NaN.
        counts: int64 `[n]`, how many to mark in each row.

    Returns:
        bool `[n, f]`, on the device of the values.
    """
    best = values.argsort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(values.shape[-1], device=values.device)
    first = ranks < counts.to(values.device).unsqueeze(-1)
    return torch.zeros_like(best, dtype=torch.bool).scatter_(-1, best, first)


@torch.no_grad()
def token_counts(scores: Scores, config: SharpVConfig) -> Tensor:
    """Says how many tokens each frame keeps.

    Adaptive: `k_t = ceil(r_t f)`, where r_t counts as known to 1e-5, so that r = 0.5 + 3e-8 of 10 tokens is
    5 and not 6. Budget: `round(retention n f)` over the whole video, in proportion to r_t (`share_tokens`).
    Threshold K: the tokens with `I >= K`. In all three, a frame keeps at least `min_tokens_per_frame` and at
    most f. What `bucket` adds is not counted.

    Args:
        scores: from `score`.
        config: what to keep.

    Returns:
        int64 `[n]`.
    """
    n, f = scores.importance.shape
    least = min(config.min_tokens_per_frame, f)
    if config.threshold is not None:
        counts = (scores.importance.double() >= config.threshold).sum(-1)
    elif config.retention == "adaptive":
        counts = ((scores.ratios.double() - RATIO_TOLERANCE) * f).ceil().long()
    else:
        total = token_budget(n, f, config)
        weights = (scores.ratios.double() * RATIO_UNITS).round().long().tolist()
        counts = torch.tensor(share_tokens(total, weights, least, f), device=scores.ratios.device)
    return counts.clamp(least, f)


def token_budget(n: int, f: int, config: SharpVConfig) -> int:
    """Says how many tokens of n frames of f tokens a float `retention` keeps, before `bucket` adds to them.

    It needs no features: `round(retention n f)`, and at least `min_tokens_per_frame` per frame.
    """
    least = min(config.min_tokens_per_frame, f)
    return max(round(float(config.retention) * n * f), n * least)


def _fill_bucket(mask: Tensor, importance: Tensor, bucket: int) -> Tensor:
    """Adds the most important other tokens of the video until their number is a multiple of `bucket`."""
    # Counted as a tensor: a number would make the device wait.
    lack = -mask.sum() % bucket
    # The kept ones come last. Where fewer than `lack` others are left, all are kept.
    others = importance.masked_fill(mask, -torch.inf)
    return mask | top_mask(others.view(1, -1), lack.view(1)).view_as(mask)


def share_tokens(total: int, weights: list[int], least: int, most: int) -> list[int]:
    """Shares `total` in proportion to the weights, each between `least` and `most`, in whole numbers.

    The shares are `clamp(c w, least, most)` with the one c that makes their sum right: frames beyond a bound
    are fixed there, on the side that goes further beyond, until none is. What rounding down leaves goes to
    the largest remainders, then to the lower index. All weights zero: equal shares. The arithmetic is exact.
    """
    counts = [0] * len(weights)
    free = list(range(len(weights)))
    while True:
        weight = sum(weights[t] for t in free)
        parts = {t: weights[t] if weight else 1 for t in free}
        whole = weight or len(free)
        # In units of 1/whole of a token: the share of frame t is total * parts[t].
        over = [t for t in free if total * parts[t] > most * whole]
        under = [t for t in free if total * parts[t] < least * whole]
        excess = sum(total * parts[t] - most * whole for t in over)
        lack = sum(least * whole - total * parts[t] for t in under)
        fixed, bound = (over, most) if excess >= lack else (under, least)
        if not fixed:
            break
        for t in fixed:
            counts[t] = bound
        total -= bound * len(fixed)
        settled = set(fixed)
        free = [t for t in free if t not in settled]
    for t in free:
        counts[t] = total * parts[t] // whole
    left = total - sum(counts[t] for t in free)
    for t in sorted(free, key=lambda t: (-(total * parts[t] % whole), t))[:left]:
        counts[t] += 1
    return counts
