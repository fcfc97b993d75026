"""The outer stage of HoliTom (arXiv 2505.21334): the cut into stretches that merges most over time."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.scores import score
from sharpv.methods.base import Budgeted, Selection, budget, require_count, require_within
from sharpv.methods.vectors import widen
from sharpv.methods.windows import merge_still, still_places

__all__ = ["HoliTom"]


@dataclass(frozen=True, slots=True)
class HoliTom(Budgeted):
    """Cuts the video where the most tokens can merge over time, and then merges tokens that are alike.

    For x `[n, f, d]`, with the cosine of each token to the one at its place in the next frame:
        - A place is still in a stretch of frames if all its cosines there are above `likeness`. The stretches
          are those with the largest sum of (frames - 1) x (still places), found by dynamic programming.
        - The mean of a still place takes its place in the first frame of the stretch.
        - The still tokens of each stretch, and the others of each frame, are clustered (DPC-kNN,
          `clusters.py`). `own centre + (1 - own) mean of its cluster` takes the place of the centre.

    O(n^2 + n f^2 d). The total is fixed, so `retention="adaptive"` is refused.

    What differs:
        - The budget is exact: groups share it in proportion to their size, the largest remainders rounded up.
          Where still places alone would save more than is asked, the least alike are not merged; published,
          fewer tokens are kept then.
        - Merged tokens have a place of their own in the grid, in raster order; published, those of still
          places come before the others. Of equally good cuts the one with the longest last stretches is
          taken.
        - Salient tokens by the attention of the vision tower are left out, as in the published default
          (D = 0). The stage inside the LLM needs attention scores and is not here.

    Attributes:
        likeness: cosine above which a place is still, in [-1, 1]; published: 0.65 where a tenth is kept.
        neighbours: k of DPC-kNN, at least 1.
        own: share of a centre's own value, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    likeness: float = 0.8
    neighbours: int = 7
    own: float = 0.6
    name: ClassVar[str] = "holitom"

    def __post_init__(self) -> None:
        require_within(self, "likeness", -1)
        require_count(self, "neighbours")
        require_within(self, "own", 0)

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Finds the stretches, merges over time, then in space."""
        # cos = 1 - T^2 / 2.
        cosines = 1 - score(features).temporal[1:].square().cpu() / 2
        vectors, norms = widen(features)
        n, f = norms.shape
        total = budget(config, n, f)
        lengths = _stretches(cosines > self.likeness)
        likeness = torch.zeros(len(lengths), f)
        start = 0
        for row, length in zip(likeness, lengths, strict=True):
            if length > 1:
                row.copy_(cosines[start : start + length - 1].amin(0))
            start += length
        still = still_places(likeness, lengths, self.likeness, total)
        return merge_still(features, vectors, lengths, still, total, self.neighbours, self.own)


def _stretches(alike: Tensor) -> list[int]:
    """Returns the lengths of the stretches that merge most, from bool `[n - 1, f]`: token like its next."""
    n = len(alike) + 1
    # How often a token goes on resembling its next, from each frame on.
    runs = torch.zeros(n, alike.shape[1], dtype=torch.long)
    for t in reversed(range(n - 1)):
        runs[t] = (runs[t + 1] + 1) * alike[t]
    # still[t][s]: places that stay alike over s steps from frame t on.
    still = [torch.bincount(row, minlength=n).flip(0).cumsum(0).flip(0).tolist() for row in runs]
    saved, cuts = [0], [0]
    for last in range(n):
        gains = [saved[t] + (last - t) * still[t][last - t] for t in range(last + 1)]
        saved.append(max(gains))
        cuts.append(gains.index(saved[-1]))
    lengths: list[int] = []
    stop = n
    while stop:
        lengths.append(stop - cuts[stop])
        stop = cuts[stop]
    return lengths[::-1]
