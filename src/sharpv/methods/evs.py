"""Efficient Video Sampling, EVS (arXiv 2510.14624): tokens that differ from the frame before."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.scores import score
from sharpv.core.select import top_mask
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, stride

__all__ = ["EVS"]


@dataclass(frozen=True, slots=True)
class EVS(Budgeted):
    """Keeps the first frame whole, and of the others the tokens that changed most since the frame before.

    For x `[n, f, d]`: `D_t,i = 1 - cos(x_t,i, x_t-1,i)` for t >= 1 and infinity for t = 0, and the largest D
    of the whole video stay. The method has no setting but the pruning rate q, which is 1 - `retention`
    (such as 0.75); it has no adaptive rule, so `retention="adaptive"` is refused. A frame may
    get none. D is T^2 / 2 of `sharpv.core.scores.score`, which orders tokens alike: O(n f d).

    What differs:
        - The paper compares pixels (the L1 distance of patches, cut at a percentile); here, as in vLLM's
          edition, features after the projector are compared.
        - The published code keeps at least one whole frame. A smaller budget is kept to here: it is spent on
          the first frame, at an even stride (`stride`), and nothing is left for the others.
        - The budget is `round(retention n f)`, not rounded down.
        - Between a zero vector and another D = 1/2, between two zero vectors 0.
    """

    name: ClassVar[str] = "evs"

    @eager
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Ranks the tokens of the video by how much each changed."""
        change = score(features).temporal
        n, f = change.shape
        total = budget(config, n, f)
        if total < f:
            return keep_places(stride(total, f), features)
        change[0] = torch.inf
        return Selection(top_mask(change.view(1, -1), torch.tensor([total])).view(n, f))
