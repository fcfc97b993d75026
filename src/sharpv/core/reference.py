"""SharpV's rules as plain loops in float64: slow, and the ground truth of every fast path.

The functions mirror `sharpv.core.scores`, `select` and `memory`, and share no arithmetic with them.
"""

from fractions import Fraction
from math import ceil, nan, sqrt

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.anchors import anchor_order, token_grid
from sharpv.core.scores import Scores

__all__ = ["keep_mask", "layer_similarity", "score", "select", "token_counts"]

Vector = list[float]


def score(features: Tensor, spatial_weight: float = 1.0) -> Scores:
    """Returns the scores of finite features `[n, f, d]`, as float64 tensors."""
    video: list[list[Vector]] = features.double().tolist()
    f = len(video[0])
    spatial, temporal, importance, ratios = [], [], [], []
    for t, frame in enumerate(video):
        mean = [sum(channel) / f for channel in zip(*frame, strict=True)]
        s = [_dissimilarity(token, mean) for token in frame]
        if t == 0:
            tau = [0.0] * f
            ratio = _norm(s) / (2 * sqrt(f))
        else:
            tau = [_dissimilarity(token, past) for token, past in zip(frame, video[t - 1], strict=True)]
            ratio = _norm(tau) / (2 * sqrt(f))
        weight = 1.0 if t == 0 and spatial_weight == 0 else spatial_weight
        spatial.append(s)
        temporal.append(tau)
        importance.append([a + weight * b for a, b in zip(tau, s, strict=True)])
        ratios.append(ratio)
    return Scores(*(torch.tensor(x, dtype=torch.float64) for x in (spatial, temporal, importance, ratios)))


def token_counts(scores: Scores, config: SharpVConfig) -> list[int]:
    """Returns how many tokens each frame keeps, before `bucket` adds to them."""
    importance: list[Vector] = scores.importance.tolist()
    ratios: Vector = scores.ratios.tolist()
    n, f = len(importance), len(importance[0])
    least = min(config.min_tokens_per_frame, f)
    if config.threshold is not None:
        counts = [sum(value >= config.threshold for value in frame) for frame in importance]
    elif config.retention == "adaptive":
        # Scores come in float32, which knows r to about 1e-6. Without the allowance a static frame would keep
        # a token for its rounding noise, and so would every r f that is a whole number.
        counts = [ceil((r - 1e-5) * f) for r in ratios]
    else:
        total = max(round(config.retention * n * f), n * least)
        # Whole millionths for the same reason: frames with the same motion must tie.
        counts = _share(total, [round(r * 10**6) for r in ratios], least, f)
    return [min(max(k, least), f) for k in counts]


def select(
    scores: Scores,
    config: SharpVConfig,
    grid: tuple[int, int] | None = None,
    features: Tensor | None = None,
) -> Tensor:
    """Returns bool `[n, f]`, true for kept tokens."""
    video = features.double().tolist() if config.diversity and features is not None else None
    importance: list[Vector] = scores.importance.tolist()
    f = len(importance[0])
    order = anchor_order(*token_grid(f, grid))
    mask = []
    for t, k in enumerate(token_counts(scores, config)):
        frame = importance[t]
        kept = set(order[: round(config.coverage * k)])
        while len(kept) < k:
            gains = {i: frame[i] for i in range(f) if i not in kept}
            if video is not None:
                gains = {i: gain * _apart(video[t], i, kept) for i, gain in gains.items()}
            kept.add(max(gains, key=lambda i: (gains[i], -i)))
        mask.append([i in kept for i in range(f)])
    others = [(-importance[t][i], t, i) for t, frame in enumerate(mask) for i in range(f) if not frame[i]]
    for _, t, i in sorted(others):
        if sum(map(sum, mask)) % config.bucket:
            mask[t][i] = True
    return torch.tensor(mask)


def keep_mask(features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None) -> Tensor:
    """Returns bool `[n, f]`, true for kept tokens of finite features `[n, f, d]`."""
    return select(score(features, config.spatial_weight), config, grid, features)


def layer_similarity(hidden: Tensor, original: Tensor, visual: Tensor) -> Tensor:
    """Returns float64 `[B]`: each row's mean cosine over its visual tokens, NaN for a row without any."""
    rows = []
    for now, then, chosen in zip(
        hidden.double().tolist(), original.double().tolist(), visual.tolist(), strict=True
    ):
        cosines = [_cosine(a, b) for a, b, is_visual in zip(now, then, chosen, strict=True) if is_visual]
        rows.append(sum(cosines) / len(cosines) if cosines else nan)
    return torch.tensor(rows, dtype=torch.float64)


def _apart(frame: list[Vector], i: int, kept: set[int]) -> float:
    """Returns 1 - cos of a token to the nearest kept one; 1 where none is kept, 0 for a copy of one."""
    apart = min((1 - _cosine(frame[i], frame[j]) for j in kept), default=1.0)
    return apart if apart >= 1e-6 else 0.0


def _norm(a: Vector) -> float:
    return sqrt(sum(x * x for x in a))


def _unit(a: Vector) -> Vector:
    norm = _norm(a)
    return [x / norm for x in a] if norm else a


def _dissimilarity(a: Vector, b: Vector) -> float:
    return _norm([x - y for x, y in zip(_unit(a), _unit(b), strict=True)])


def _cosine(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(_unit(a), _unit(b), strict=True))


def _share(total: int, weights: list[int], least: int, most: int) -> list[int]:
    """Rounds `clamp(c w, least, most)` to whole numbers that sum to `total`."""
    shares = _exact_shares(total, weights, least, most)
    counts = [int(share) for share in shares]
    for t in sorted(range(len(shares)), key=lambda t: (counts[t] - shares[t], t))[: total - sum(counts)]:
        counts[t] += 1
    return counts


def _exact_shares(total: int, weights: list[int], least: int, most: int) -> list[Fraction]:
    """Finds the c for which `clamp(c w, least, most)` sums to `total`, between two bends of that sum."""

    def clamped(c: Fraction) -> list[Fraction]:
        return [min(max(c * w, Fraction(least)), Fraction(most)) for w in weights]

    bends = sorted({Fraction(0)} | {Fraction(bound, w) for w in weights if w for bound in (least, most)})
    low = bends[0]
    for high in bends:
        below, above = sum(clamped(low)), sum(clamped(high))
        if above >= total:
            c = low if above == below else low + (high - low) * Fraction(total - below) / (above - below)
            return clamped(c)
        low = high
    # Every frame that moves is full: those that do not move share the rest equally.
    still = weights.count(0)
    rest = Fraction(total - most * (len(weights) - still), still)
    return [Fraction(most) if w else rest for w in weights]
