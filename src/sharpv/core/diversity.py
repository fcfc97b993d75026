"""Tokens of a frame one by one, important and unlike each other: not the paper's rule, an option of ours."""

import torch
from torch import Tensor

from sharpv.core.features import norms_in_range, working_dtype

__all__ = ["diverse_mask"]

# A token as near as this to a chosen one is the same token but for rounding.
_ROUNDING = 1e-6


def diverse_mask(features: Tensor, importance: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
    """Fills each frame up, each time with the token of the largest `I (1 - cos)` to its nearest chosen one.

    A frame of which nothing is chosen starts with its largest I. O(k_t f d) for frame t, which stays in the
    cache of a CPU meanwhile; no matrix of all pairs. The cosine with a zero vector is 0. On a GPU the call
    waits for the device once.

    Args:
        features: `[n frames, f tokens, d]`, finite.
        importance: `[n, f]`, I, at least 0.
        chosen: bool `[n, f]`, tokens that are kept whatever their importance.
        counts: int64 `[n]`, tokens to keep per frame, at least those chosen and at most f.

    Returns:
        bool `[n, f]`, with `counts` true per row. Ties: the lower index.
    """
    filled = chosen.clone()
    first = chosen.sum(1)
    numbers = zip(first.tolist(), (counts.to(first.device) - first).tolist(), strict=True)
    for t, (anchors, left) in enumerate(numbers):
        if left:
            with torch.autocast(features.device.type, enabled=False):
                _fill(_units(features[t]), importance[t], filled[t], anchors, left)
    return filled


def _fill(units: Tensor, importance: Tensor, chosen: Tensor, anchors: int, left: int) -> None:
    """Chooses `left` more tokens of one frame, in place."""
    # 1 - cos to the nearest chosen token; where there is none, importance decides alone.
    apart = torch.ones_like(importance)
    if anchors:
        # As many as are known to be chosen: a mask as an index would make a GPU wait.
        places = chosen.to(torch.uint8).argsort(descending=True, stable=True)[:anchors]
        apart = _distances(units, units[places]).amin(1)
    for step in range(left):
        gain = (importance * apart).masked_fill(chosen, -1)
        pick = gain.argmax(0, keepdim=True)
        chosen.index_fill_(0, pick, True)
        nearest = _distances(units, units[pick]).squeeze(1)
        apart = torch.minimum(apart, nearest) if anchors or step else nearest


def _distances(units: Tensor, others: Tensor) -> Tensor:
    """Returns float32 `[f, k]`: 1 - cos of every token of a frame to each of k tokens."""
    distances = 1 - units @ others.T
    return distances.masked_fill(distances < _ROUNDING, 0).float()


def _units(frame: Tensor) -> Tensor:
    """Returns the unit vectors `[f, d]`, zero for zero vectors, in a precision that holds the norms."""
    vectors = frame.to(working_dtype(frame))
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not norms_in_range(norms).all():
        vectors = frame.double()
        norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    units: Tensor = vectors / norms.masked_fill(norms == 0, 1)
    return units
