"""VidCom2, the Video Compression Commander (arXiv 2505.14454): unlike the video and unlike the frame."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import top_mask
from sharpv.methods.base import Budgeted, Selection, budget, frame_budgets, is_positive
from sharpv.methods.vectors import channel_spreads, dots, inverse, weighted_sums, widen

__all__ = ["VidCom2"]


@dataclass(frozen=True, slots=True)
class VidCom2(Budgeted):
    """Gives unusual frames more tokens, and keeps those that are unlike their frame and the whole video.

    For x `[n, f, d]`:
        - Only the `max(d // 2, 1)` channels of the lowest variance over all n f tokens are looked at.
        - u = x / |x|; c_t the mean of u over a frame, g over the video, neither brought to unit length;
          `G(u, c) = sum over a of exp(-|u - c|^2 / (2 a))`.
        - `s_t = -mean_i G(u_t,i, g)`; p = softmax of s / temperature over the frames; the share of a frame is
          in proportion to `1 + p_t - mean(p)`, at least 1 token and at most f.
        - A frame keeps its tokens of the lowest `G(u_t,i, g) + G(u_t,i, c_t)`.

    O(n f d). The total is fixed (published: 0.25), so `retention="adaptive"` is refused.

    What differs: the published code rounds each frame's share for itself and leaves what a full frame cannot
    take unspent, so its total is near the budget. Here the largest remainders get what rounding leaves, and
    the other frames what a full one cannot take. Fewer tokens than frames: some frames get none.

    Attributes:
        widths: the a of G, more than 0.
        temperature: of the softmax, more than 0.

    Raises:
        ValueError: a value outside its range.
    """

    widths: tuple[float, ...] = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
    temperature: float = 0.01
    name: ClassVar[str] = "vidcom2"

    def __post_init__(self) -> None:
        if not isinstance(self.widths, tuple) or not self.widths or not all(map(is_positive, self.widths)):
            raise ValueError(
                f"VidCom2.widths is {self.widths!r}: it must be a tuple of finite numbers above 0"
            )
        if not is_positive(self.temperature):
            raise ValueError(
                f"VidCom2.temperature is {self.temperature!r}: it must be a finite number above 0"
            )

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Shares the budget by the frames' uniqueness, and ranks each frame's tokens by theirs."""
        vectors, _ = widen(features)
        n, f, d = vectors.shape
        steady = channel_spreads(vectors).argsort(stable=True)[: max(d // 2, 1)]
        # Norms on some of the channels can be out of float32's range where those on all were not.
        vectors, norms = widen(vectors[..., steady.sort().values])
        weights = inverse(norms)
        centres = weighted_sums(vectors, weights) / f
        to_video = self._likeness(vectors, weights, centres.mean(0).expand_as(centres))
        to_frame = self._likeness(vectors, weights, centres)

        uniqueness = -to_video.double().mean(-1)
        shares = torch.softmax(uniqueness / self.temperature, 0)
        counts = frame_budgets(budget(config, n, f), 1 + shares - shares.mean(), f)
        return Selection(top_mask(-(to_video + to_frame), counts))

    def _likeness(self, vectors: Tensor, weights: Tensor, centres: Tensor) -> Tensor:
        """Returns G `[n, f]` between unit tokens and the centres `[n, d]` of their frames."""
        cross = dots(vectors, centres) * weights
        squares = (weights > 0) + centres.square().sum(-1, keepdim=True) - 2 * cross
        parts = [torch.exp(squares / (-2 * width)) for width in self.widths]
        return torch.stack(parts).sum(0)
