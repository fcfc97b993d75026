"""Tokens at an even stride over the video."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, stride

__all__ = ["Uniform"]


@dataclass(frozen=True, slots=True)
class Uniform(Budgeted):
    """Keeps k = `round(retention n f)` tokens of the whole video, at least 1, at an even stride.

    k is rounded up to a multiple of the configuration's `bucket`. In raster order of (frame, token), from the
    first token to the last: the j-th kept token, j = 0, ..., k - 1, is number `j (n f - 1) / (k - 1)`,
    rounded half up. A frame may get none.
    """

    name: ClassVar[str] = "uniform"

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Lays the tokens out; what the features hold is not looked at."""
        n, f = features.shape[:2]
        return keep_places(stride(budget(config, n, f), n * f), features)
