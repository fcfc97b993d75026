"""Trees of tokens through time: each joined to its best match in the frame before, wherever it moved."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["find_links", "find_roots"]


def find_links(
    units: Tensor, apart: Tensor, starts: Sequence[bool], likeness: float
) -> tuple[Tensor, Tensor]:
    """Finds the best match of each token in the frame before. O(n f^2 d), an f x f matrix at a time.

    With TF32 switched on in torch, matches are only as sure as TF32 is.

    Args:
        units: `[n, f, d]`, unit vectors or zero.
        apart: bool `[n, f]` on their device, tokens that are in no tree.
        starts: `[n]`, the frames that look at no frame before.
        likeness: cosine above which a match counts.

    Returns:
        int64 `[n, f]`, the place of the match in the frame before, and `[n, f]`, the cosine to it; -inf where
        none counts. Ties: the lower index.
    """
    n, f, _ = units.shape
    matches = torch.zeros(n, f, dtype=torch.long, device=units.device)
    strength = torch.full_like(units[..., 0], -torch.inf)
    cosines = units.new_empty(f, f)
    for t in range(1, n):
        if not starts[t]:
            # With out=, autocast leaves the product alone.
            torch.mm(units[t], units[t - 1].T, out=cosines)
            cosines.masked_fill_(apart[t - 1], -torch.inf)
            matches[t] = cosines.argmax(-1)
            strength[t] = cosines.amax(-1)
    return matches, strength.masked_fill_((strength <= likeness) | apart, -torch.inf)


def find_roots(matches: Tensor, strength: Tensor, most: int) -> Tensor:
    """Returns int64 `[n, f]`: the number in raster order of the token at the root of each token's tree.

    Only the `most` strongest links are followed; ties: the lower index.
    """
    n, f = matches.shape
    linked = torch.zeros(n * f, dtype=torch.bool, device=matches.device)
    linked[strength.flatten().argsort(descending=True, stable=True)[:most]] = True
    linked = linked.view(n, f) & (strength > -torch.inf)
    roots = torch.arange(n * f, device=matches.device).view(n, f)
    for t in range(1, n):
        roots[t] = torch.where(linked[t], roots[t - 1, matches[t]], roots[t])
    return roots
