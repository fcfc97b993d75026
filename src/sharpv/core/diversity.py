"""Tokens of a frame one by one, important and unlike each other: not the paper's rule, an option of ours."""

import torch
from torch import Tensor

from sharpv.core.features import norms_in_range, working_dtype

__all__ = ["diverse_mask"]

# A token as near as this to a chosen one is the same token but for rounding.
_ROUNDING = 1e-6


def diverse_mask(features: Tensor, importance: Tensor, chosen: Tensor, counts: Tensor) -> Tensor:
    """Fills each frame up, each time with the token of the largest `I (1 - cos)` to its nearest chosen one.

    A frame of which nothing is chosen starts with its largest I. All frames go in step: `max k_t` steps of
    O(n f d), and a copy of the video; no matrix of pairs. The cosine with a zero vector is 0.

    Args:
        features: `[n frames, f tokens, d]`, finite.
        importance: `[n, f]`, I, at least 0.
        chosen: bool `[n, f]`, tokens that are kept whatever their importance.
        counts: int64 `[n]`, tokens to keep per frame, at least those chosen and at most f.

    Returns:
        bool `[n, f]`, with `counts` true per row. Ties: the lower index.
    """
    units = _units(features)
    chosen, left = chosen.clone(), counts.to(chosen.device) - chosen.sum(1)
    # 1 - cos to the nearest chosen token; infinite where there is none.
    apart = torch.full_like(importance, torch.inf)
    for rank in range(int(chosen.sum(1).max())):
        picks = (chosen.cumsum(1) > rank).long().argmax(1)
        has = (chosen.sum(1) > rank).unsqueeze(1)
        apart = torch.where(has, torch.minimum(apart, _distances(units, picks)), apart)
    for step in range(int(left.max())):
        gain = importance * torch.where(apart.isinf(), 1, apart)
        picks = gain.masked_fill(chosen, -1).argmax(1)
        chosen |= torch.zeros_like(chosen).scatter_(1, picks[:, None], (left > step)[:, None])
        apart = torch.minimum(apart, _distances(units, picks))
    return chosen


def _distances(units: Tensor, picks: Tensor) -> Tensor:
    """Returns float32 `[n, f]`: 1 - cos of every token to one of its frame, `picks [n]`."""
    picked = units[torch.arange(len(units), device=units.device), picks]
    distances = 1 - torch.bmm(units, picked.unsqueeze(-1)).squeeze(-1)
    return distances.masked_fill(distances < _ROUNDING, 0).float()


def _units(features: Tensor) -> Tensor:
    """Returns the unit vectors `[n, f, d]`, zero for zero vectors, in a precision that holds the norms."""
    vectors = features.to(working_dtype(features))
    norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    if not norms_in_range(norms).all():
        vectors = features.double()
        norms = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    units: Tensor = vectors / norms.masked_fill(norms == 0, 1)
    return units
