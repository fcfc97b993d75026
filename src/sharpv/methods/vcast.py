"""V-CAST (arXiv 2603.27650): budgets by the curvature of the video's path, tokens by novelty and size."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import top_mask
from sharpv.methods.base import Budgeted, Selection, budget, frame_budgets, is_positive
from sharpv.methods.vectors import dots, frame_means, inverse, widen

__all__ = ["VCast"]

# Differences of unit vectors and of norms below this are float32's rounding, and would be blown up.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class VCast(Budgeted):
    """Gives frames at turns of the video more tokens, and keeps the large ones that are unlike their frame.

    For x `[n, f, d]`:
        - z_t is the mean of a frame's tokens, brought to unit length;
          `c_t = 1 - cos(z_t - z_t-1, z_t+1 - z_t)`, and 1 for the first and the last frame.
        - The share of a frame is in proportion to `exp(c_t / temperature)`, at least 1 token and at most f;
          the largest remainders get what rounding leaves.
        - A frame keeps its tokens of the highest `1 - cos(x_t,i, z_t) + m_t,i`, where m is the norm |x_t,i|
          scaled to [0, 1] between the smallest and the largest of the frame.

    O(n f d). The total is fixed (published: 0.25), so `retention="adaptive"` is refused.

    What differs: steps of z and spreads of norms below 1e-6 (of 1, and of the largest norm) count as none, so
    that rounding decides nothing: c = 1 at a step of length 0, m = 0 in a frame of equal norms. Fewer tokens
    than frames: some frames get none.

    Attributes:
        temperature: of the frames' shares, more than 0.

    Raises:
        ValueError: a value outside its range.
    """

    temperature: float = 0.7
    name: ClassVar[str] = "vcast"

    def __post_init__(self) -> None:
        if not is_positive(self.temperature):
            raise ValueError(f"VCast.temperature is {self.temperature!r}: it must be a finite number above 0")

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Shares the budget by curvature, and ranks each frame's tokens by novelty and size."""
        vectors, norms = widen(features)
        n, f = norms.shape
        means = frame_means(vectors).double()
        path = means * inverse(torch.linalg.vector_norm(means, dim=-1, keepdim=True))
        curvature = _curvature(path)
        shares = torch.exp((curvature - curvature.max()) / self.temperature)
        counts = frame_budgets(budget(config, n, f), shares, f)

        novelty = 1 - dots(vectors, path.to(vectors.dtype)) * inverse(norms)
        low, high = norms.aminmax(dim=-1, keepdim=True)
        spread = high - low
        size = torch.where(spread > _ROUNDING * high, (norms - low) / spread, 0)
        return Selection(top_mask(novelty + size, counts))


def _curvature(path: Tensor) -> Tensor:
    """Returns c `[n]` of unit vectors `[n, d]`, in [0, 2]."""
    steps = path.diff(dim=0)
    lengths = torch.linalg.vector_norm(steps, dim=-1, keepdim=True)
    steps = torch.where(lengths > _ROUNDING, steps / lengths, 0)
    curvature = path.new_ones(len(path))
    curvature[1:-1] -= (steps[:-1] * steps[1:]).sum(-1)
    return curvature
