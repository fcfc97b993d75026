"""FlashVID (arXiv 2602.08024) before the LLM, without attention: unlike tokens stay, the others merge."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import share_tokens
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, level, require_count, require_within
from sharpv.methods.clusters import group_means, thin
from sharpv.methods.divprune import spread
from sharpv.methods.segments import segment_starts
from sharpv.methods.trees import find_links, find_roots
from sharpv.methods.vectors import frame_means, inverse, widen

__all__ = ["FlashVID"]


@dataclass(frozen=True, slots=True)
class FlashVID(Budgeted):
    """Keeps the most diverse tokens of each frame, and merges the others along trees through time.

    For x `[n, f, d]`, with an equal share of the budget for each frame, the earlier ones rounded up:
        - A segment ends where the cosine of the mean tokens of two frames is below `cut`, or among the lowest
          `segments - 1`.
        - Of each frame's share m, `round(diverse m)` tokens stay as they are, found one by one: each the one
          whose nearest token found before is furthest away (`divprune.spread`, within the frame).
        - Every other token whose best match among the others of the frame before, in its segment, has a
          cosine above `likeness` merges into it, and so on back: a tree is one token, the mean, at its root.
        - What is left of each frame is clustered (DPC-kNN, `clusters.py`) down to its share. The mean of a
          cluster takes the place of its centre.

    O(n f^2 d). The total is fixed, so `retention="adaptive"` is refused.

    What differs:
        - The published default weighs the distances by the attention of the vision tower; this is its form
          without ("div").
        - There, 1.25 times the share enters the LLM, and layer 20 drops most of it by attention scores. Here
          `retention` is what enters, and all of it stays.
        - The budget is exact: what a frame of few trees cannot use goes to the others, and where trees would
          save more than is asked, the weakest links are cut.
        - The number of neighbours is that of PruneVid and HoliTom.

    Attributes:
        diverse: share of a frame's tokens that stay as they are, in [0, 1].
        segments: at least so many, or one per frame.
        cut: cosine of frames below which a segment ends, in [-1, 1].
        likeness: cosine above which tokens of neighbouring frames merge, in [-1, 1].
        neighbours: k of DPC-kNN, at least 1.

    Raises:
        ValueError: a value outside its range.
    """

    diverse: float = 0.7
    segments: int = 8
    cut: float = 0.9
    likeness: float = 0.8
    neighbours: int = 7
    name: ClassVar[str] = "flashvid"

    def __post_init__(self) -> None:
        require_within(self, "diverse", 0)
        require_count(self, "segments")
        require_within(self, "cut", -1)
        require_within(self, "likeness", -1)
        require_count(self, "neighbours")

    @eager
    @torch.no_grad()
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Chooses the diverse tokens, grows the trees, and clusters their roots."""
        vectors, norms = widen(features)
        n, f = norms.shape
        shares = share_tokens(budget(config, n, f), [1] * n, 0, f)
        units = vectors * inverse(norms).unsqueeze(-1)
        diverse = torch.zeros(n, f, dtype=torch.bool, device=units.device)
        for t, count in enumerate(round(self.diverse * share) for share in shares):
            if count:
                diverse[t, spread(units[t], count)] = True
        rest = sum(shares) - int(diverse.sum())
        frames = frame_means(vectors)
        starts = segment_starts(frames, self.segments, self.cut)
        links = find_links(units, diverse, starts, self.likeness)
        # Each link saves one token.
        roots = find_roots(*links, int((~diverse).sum()) - rest)
        places, owner = roots.flatten().unique(return_inverse=True)  # type: ignore[no-untyped-call]
        values = group_means(vectors.flatten(0, 1), owner, len(places))
        loose = ~diverse.flatten()[places]
        trees = places[loose].cpu()
        counts = level(rest, torch.bincount(trees // f, minlength=n).tolist())
        kept, merged = thin(values[loose], trees // f, counts, self.neighbours)
        places = torch.cat([places[~loose].cpu(), trees[kept]])
        return keep_places(places, features, torch.cat([values[~loose], merged]))
