"""DivPrune (arXiv 2503.02175): tokens as unlike each other as can be found one by one."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.methods.base import Budgeted, Selection, budget, keep_places
from sharpv.methods.vectors import inverse, widen

__all__ = ["DivPrune", "spread"]

# Rows of the matrix of cosines that are looked at in one go.
_BLOCK = 256
# A token as near as this to a chosen one is the same token but for rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class DivPrune(Budgeted):
    """Keeps tokens one by one, each the one whose nearest kept token is furthest away.

    For the N = n f tokens of the whole video, with `D(x, y) = 1 - cos(x, y)`: first the token whose nearest
    other token is furthest away; then, k - 1 times, the token of the largest `min over kept s of D(x, s)`. A
    frame may get none. The number is fixed (published: 0.098 N), so `retention="adaptive"` is refused.

    What differs: the N x N matrix of the published code is never held, and its minimum over all kept tokens
    is not taken anew at each step. A running minimum of N numbers gives the same tokens in O(k N d); the
    first one takes O(N^2 d) more, in blocks of 256 rows. Memory is a copy of the video. Tokens within 1e-6 of
    a kept one count as equal to it, so that copies go in raster order. With TF32 switched on in torch, the
    first token is only as sure as TF32 is.
    """

    name: ClassVar[str] = "divprune"

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Chooses the tokens in the order of their distance to those chosen before."""
        vectors, norms = widen(features)
        units = (vectors * inverse(norms).unsqueeze(-1)).flatten(0, 1)
        return keep_places(spread(units, budget(config, *norms.shape)).cpu(), features)


def spread(units: Tensor, count: int) -> Tensor:
    """Finds tokens one by one, each the one whose nearest token found before is furthest away.

    Args:
        units: `[N, d]`, unit vectors or zero.
        count: tokens wanted, in 1..N.

    Returns:
        int64 `[count]` on their device, in the order in which they are found. Ties: the lower index.
    """
    places = torch.empty(count, dtype=torch.long, device=units.device)
    # The cosine to the nearest token found; infinite for those that are.
    nearest = torch.full_like(units[:, 0], -torch.inf)
    cosines = torch.empty_like(nearest)
    place = _nearest_others(units).argmin(0, keepdim=True)
    places[:1] = place
    # No step reads a number on the host, so none waits for a GPU.
    for step in range(1, count):
        torch.mv(units, units[place].squeeze(0), out=cosines)
        torch.maximum(nearest, cosines.clamp_(max=1 - _ROUNDING), out=nearest)
        nearest.index_fill_(0, place, torch.inf)
        place = nearest.argmin(0, keepdim=True)
        places[step : step + 1] = place
    return places


def _nearest_others(units: Tensor) -> Tensor:
    """Returns `[N]`: the cosine of each of N unit vectors to the nearest of the others."""
    nearest = torch.empty_like(units[:, 0])
    cosines = units.new_empty(min(_BLOCK, len(units)), len(units))
    for start in range(0, len(units), _BLOCK):
        rows = units[start : start + _BLOCK]
        # With out=, autocast leaves the product alone.
        block = torch.mm(rows, units.T, out=cosines[: len(rows)])
        block.diagonal(start).fill_(-torch.inf)
        torch.amax(block, 1, out=nearest[start : start + _BLOCK])
    return nearest.clamp_(max=1 - _ROUNDING)
