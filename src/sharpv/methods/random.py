"""Tokens at random: what every method has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.methods.base import Budgeted, Selection, budget, keep_places

__all__ = ["Random"]


@dataclass(frozen=True, slots=True)
class Random(Budgeted):
    """Keeps `round(retention n f)` tokens of the whole video, at least 1, each set equally likely.

    Their number is rounded up to a multiple of the configuration's `bucket`. A frame may get none. The choice
    depends on the seed, n and f alone: the same request gives the same mask on every device and in every
    batch, and so does another video of the same shape. For masks that are independent from video to video,
    attach with another seed for each.

    Attributes:
        seed: any whole number that `torch.Generator.manual_seed` takes.
    """

    seed: int = 0
    name: ClassVar[str] = "random"

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Draws the tokens; what the features hold is not looked at."""
        n, f = features.shape[:2]
        order = torch.randperm(n * f, generator=torch.Generator().manual_seed(self.seed))
        return keep_places(order[: budget(config, n, f)], features)
