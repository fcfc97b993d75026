"""Visual SharpV (arXiv 2511.08003), and what this package adds to it: the rule of `sharpv.core`."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.scores import score
from sharpv.core.select import select
from sharpv.methods.base import Selection

__all__ = ["SharpV"]


@dataclass(frozen=True, slots=True)
class SharpV:
    """Keeps what differs from its frame and from its past; follows every field of the configuration."""

    name: ClassVar[str] = "sharpv"

    def check(self, config: SharpVConfig) -> None:
        """Accepts every configuration."""

    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Scores the video and keeps each frame's most important tokens: `score`, then `select`."""
        scores = score(features, config.spatial_weight)
        return Selection(select(scores, config, grid, features), tuple(scores.ratios.tolist()))
