"""The first stage of PruneVid (arXiv 2412.16117): still places merge over a scene, the rest in space."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.methods.base import Budgeted, Selection, budget, require_count, require_within
from sharpv.methods.clusters import cluster
from sharpv.methods.vectors import frame_means, inverse, widen
from sharpv.methods.windows import merge_still, still_places

__all__ = ["PruneVid"]


@dataclass(frozen=True, slots=True)
class PruneVid(Budgeted):
    """Merges what stands still over each scene, and then tokens that are alike.

    For x `[n, f, d]`:
        - The mean tokens of the frames form `max(int(scenes n), 1)` clusters (DPC-kNN, `clusters.py`). A
          scene is a stretch of frames of one cluster.
        - Place i of a scene is still where the cosines of its tokens, averaged over all pairs of frames, are
          above `likeness`. The mean of its tokens takes its place in the first frame of the scene.
        - The still tokens of each scene, and the others of each frame, are clustered again. The mean of a
          cluster takes the place of its centre.

    O(n^2 d + n f^2 d). The published share of clusters, half of each group, follows from `retention` here, so
    `retention="adaptive"` is refused.

    What differs:
        - The budget is exact: groups share it in proportion to their size, the largest remainders rounded up.
          Where still places alone would save more than is asked, the least alike are not merged. Groups of 14
          tokens or fewer are clustered like the others, and so are videos of any number of frames.
        - Merged tokens have a place of their own in the grid, in raster order; published, the still tokens of
          a scene come before the others. A cluster that appears in two stretches makes two scenes.
        - The second stage needs the attention scores of the LLM and is not here.

    Attributes:
        scenes: clusters of frames as a share of the frames, in (0, 1].
        likeness: cosine above which a place is still, in [-1, 1].
        neighbours: k of DPC-kNN, at least 1.

    Raises:
        ValueError: a value outside its range.
    """

    scenes: float = 0.25
    likeness: float = 0.8
    neighbours: int = 7
    name: ClassVar[str] = "prunevid"

    def __post_init__(self) -> None:
        require_within(self, "scenes", 0, open_below=True)
        require_within(self, "likeness", -1)
        require_count(self, "neighbours")

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Cuts the video into scenes, merges over time, then in space."""
        vectors, norms = widen(features)
        n, f = norms.shape
        total = budget(config, n, f)
        frames = frame_means(vectors)
        _, labels = cluster(frames, max(int(self.scenes * n), 1), self.neighbours)
        lengths = labels.unique_consecutive(return_counts=True)[1].tolist()  # type: ignore[no-untyped-call]
        likeness = _pair_cosines(vectors, inverse(norms), lengths).cpu()
        still = still_places(likeness, lengths, self.likeness, total)
        return merge_still(features, vectors, lengths, still, total, self.neighbours, own=0.0)


def _pair_cosines(vectors: Tensor, scales: Tensor, lengths: list[int]) -> Tensor:
    """Returns `[scenes, f]`: the mean cosine of a place over all pairs of frames, 0 without a pair."""
    means = vectors.new_zeros(len(lengths), vectors.shape[1])
    parts = zip(vectors.split(lengths), scales.split(lengths), strict=True)  # type: ignore[no-untyped-call]
    for mean, (tokens, scale) in zip(means, parts, strict=True):
        pairs = len(tokens) * (len(tokens) - 1)
        if pairs:
            # |sum of u|^2 counts each pair twice, and each token that is not zero once with itself.
            total = torch.zeros_like(tokens[0])
            for token, size in zip(tokens, scale, strict=True):
                total.addcmul_(token, size.unsqueeze(-1))
            mean += (total.square().sum(-1) - (scale > 0).sum(0)) / pairs
    return means
