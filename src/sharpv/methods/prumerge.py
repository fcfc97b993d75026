"""LLaVA-PruMerge (arXiv 2403.15388): the outliers of attention stay, and take in what is like them."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import share_tokens, top_mask
from sharpv.methods.attention import require_attention
from sharpv.methods.base import Budgeted, Selection, budget, is_positive, require_count
from sharpv.methods.vectors import inverse, widen

__all__ = ["PruMerge"]

# A cosine as near as this to 1 is that of a copy but for rounding.
_COPY = 1e-6
# Attention above a bound by this share of it is so by rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class PruMerge(Budgeted):
    """Keeps the tokens that receive most attention; each takes in those of its frame that are most like it.

    For x `[n, f, d]` and the attention a `[n, f]`, which is made to sum to 1 in each frame:
        - Adaptive, as published: frame t keeps as many tokens as are outliers, `a > Q3 + fence (Q3 - Q1)`
          with the quartiles of its a, at least 1; r_t is their share of f. A float retention gives each frame
          an equal share of the budget, the earlier ones rounded up.
        - A frame keeps its tokens of the highest a.
        - With N_i the `neighbours` other tokens of the frame with the highest cosine to a kept x_i, kept ones
          among them, the value of i is `(x_i + sum over N_i of a_j x_j) / (1 + sum over N_i of a_j)`. A frame
          that keeps all its tokens keeps them as they are.

    O(n f k d), k kept per frame. `bucket` rounds the total up; the frames share what it adds in proportion to
    what they keep.

    What differs:
        - The published code does not divide the sum, which leaves the range of the features.
        - It compares the keys of the tower's attention; here the features themselves are compared.
        - It appends one more token, the sum of all that is dropped, which has no place in the picture; it is
          left out.
        - Tokens stay in raster order, not in that of attention. The variant with tokens at a stride in space
          added (PruMerge+) is not here.

    Attributes:
        fence: quartile ranges above the third quartile from which a token is an outlier, more than 0.
        neighbours: tokens that a kept one takes in, at least 1; all others of the frame where they are fewer.

    Raises:
        ValueError: a value outside its range.
    """

    fence: float = 1.5
    neighbours: int = 32
    name: ClassVar[str] = "prumerge"
    adaptive: ClassVar[bool] = True
    needs_attention: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not is_positive(self.fence):
            raise ValueError(f"PruMerge.fence is {self.fence!r}: it must be a finite number above 0")
        require_count(self, "neighbours")

    @eager
    @torch.no_grad()
    def select(
        self,
        features: Tensor,
        config: SharpVConfig,
        grid: tuple[int, int] | None = None,
        attention: Tensor | None = None,
    ) -> Selection:
        """Counts the outliers unless it is told how many, takes the highest, and merges into them."""
        vectors, norms = widen(features)
        n, f = norms.shape
        received = require_attention(self, attention, norms)
        received = received / received.sum(-1, keepdim=True).clamp(min=torch.finfo(received.dtype).tiny)
        ratios: tuple[float, ...] = ()
        if isinstance(config.retention, float):
            counts = share_tokens(budget(config, n, f), [1] * n, 0, f)
        else:
            low, high = received.double().quantile(received.new_tensor([0.25, 0.75]).double(), -1)
            bound = (high + self.fence * (high - low)) * (1 + _ROUNDING)
            outliers = (received > bound.unsqueeze(-1)).sum(-1).tolist()
            ratios = tuple(count / f for count in outliers)
            counts = [max(count, 1) for count in outliers]
            counts = share_tokens(config.rounded_up(sum(counts), n * f), counts, 1, f)
        mask = top_mask(received, torch.tensor(counts))
        scales = inverse(norms).unsqueeze(-1)
        frames = zip(vectors, vectors * scales, received, mask, strict=True)
        merged = torch.cat([self._merged(*frame) for frame in frames])
        return Selection(mask, ratios, merged.to(features.dtype))

    def _merged(self, frame: Tensor, units: Tensor, received: Tensor, mask: Tensor) -> Tensor:
        """Returns `[k, d]`: the values of the kept tokens of one frame, in raster order."""
        kept = mask.nonzero().flatten()
        if len(kept) == len(frame):
            return frame
        cosines = units.new_empty(len(kept), len(units))
        # With out=, autocast leaves the product alone.
        torch.mm(units[kept], units.T, out=cosines)
        cosines.clamp_(max=1 - _COPY)[torch.arange(len(kept)), kept] = -torch.inf
        nearest = cosines.argsort(dim=-1, descending=True, stable=True)[
            :, : min(self.neighbours, len(units) - 1)
        ]
        weights = torch.zeros_like(cosines).scatter_(-1, nearest, received[nearest])
        sums = torch.empty_like(frame[kept])
        torch.mm(weights, frame, out=sums)
        return (frame[kept] + sums) / (1 + weights.sum(-1, keepdim=True))
