"""The merging step of FrameFusion (arXiv 2501.01986): tokens like the one before them join it."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.scores import score
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, require_within, stride
from sharpv.methods.clusters import group_means
from sharpv.methods.vectors import widen

__all__ = ["FrameFusion"]


@dataclass(frozen=True, slots=True)
class FrameFusion(Budgeted):
    """Merges tokens into the one before them, the most similar first, until the budget is met.

    For x `[n, f, d]`: the tokens of the highest `cos(x_t,i, x_t-1,i)` of the whole video leave their places,
    n f minus the budget of them. Those of `similarity` or more merge: a run of such tokens is one token, the
    mean, at the place of its first. A frame may get none. O(n f d).

    The total is fixed, so `retention="adaptive"` is refused.

    What differs:
        - FrameFusion merges inside the LLM, on the hidden states of successive layers from the first on,
          until little is left to merge. Here the features are merged once, before the LLM: its first layer's
          step, with all that its rule for a full budget allows.
        - It then prunes by attention scores. Here, where merging does not reach the budget, runs are dropped,
          those first whose first token is most like the one before. Of the first frame, whose tokens follow
          nothing, an even stride (`stride`) stays where nothing else is left to drop.

    Attributes:
        similarity: cosine from which on tokens merge, in [-1, 1].

    Raises:
        ValueError: a value outside its range.
    """

    similarity: float = 0.6
    name: ClassVar[str] = "framefusion"

    def __post_init__(self) -> None:
        require_within(self, "similarity", -1)

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Ranks the tokens by their change, and takes the mean of each run."""
        # cos = 1 - T^2 / 2.
        change = score(features).temporal.cpu()
        vectors, _ = widen(features)
        n, f = change.shape
        total = budget(config, n, f)
        change[0] = torch.inf
        leaving = torch.zeros(n * f, dtype=torch.bool)
        leaving[change.flatten().argsort(stable=True)[: n * f - total]] = True
        merging = leaving.view(n, f) & (1 - change.square() / 2 >= self.similarity)
        if total < f:
            leaving[:f] = True
            leaving[stride(total, f)] = False

        first = torch.arange(n * f).view(n, f)
        for t in range(1, n):
            first[t] = torch.where(merging[t], first[t - 1], first[t])
        starts, owner = first.flatten().unique(return_inverse=True)  # type: ignore[no-untyped-call]
        means = group_means(vectors.flatten(0, 1), owner.to(vectors.device), len(starts))
        stay = (~leaving[starts]).nonzero().flatten()
        return keep_places(starts[stay], features, means[stay.to(means.device)])
