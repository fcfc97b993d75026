"""FastVID (arXiv 2503.11187): what the vision tower looks at, and dense tokens that sum up each segment."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import share_tokens, top_mask
from sharpv.methods.attention import require_attention
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, level, require_count, require_within
from sharpv.methods.clusters import cluster, join
from sharpv.methods.segments import segment_starts
from sharpv.methods.vectors import frame_means, inverse, widen

__all__ = ["FastVID"]


@dataclass(frozen=True, slots=True)
class FastVID(Budgeted):
    """Keeps salient tokens of each frame, and merges the rest of a segment into anchors of some frames.

    For x `[n, f, d]`, the attention a `[n, f]`, an equal share of the budget for each frame, the earlier ones
    rounded up, and the segments of `segments.py`:
        - Of each frame's share m, `int(context m)` are for anchors. The others, salient, have the highest a.
        - What the frames of a segment have for anchors goes in equal parts to every `spacing`-th of them,
          counted back from the last: to the density peaks (DPC-kNN, `clusters.py`) of their other tokens.
        - In each such frame, every token of the segment that is neither salient nor an anchor joins the
          anchor with the highest cosine to it. An anchor that c tokens joined becomes `w` times itself and
          `1 - w` times their mean, `w = max(1 / (c + 1), own)`.

    O(n f^2 d) for the densities and O(n l f m d) for joining, l the frames of a segment. The total is fixed,
    so `retention="adaptive"` is refused. What differs: the budget is exact; a segment's other frames get what
    those with anchors cannot take. No noise is added to densities.

    Attributes:
        segments: at least so many, or one per frame.
        cut: cosine of frames below which a segment ends, in [-1, 1].
        context: share of a frame's tokens that goes to anchors, in [0, 1].
        spacing: frames from one frame with anchors to the next.
        own: least share of its own value in an anchor's, in [0, 1].
        neighbours: k of DPC-kNN, at least 1.

    Raises:
        ValueError: a value outside its range.
    """

    segments: int = 8
    cut: float = 0.9
    context: float = 0.4
    spacing: int = 4
    own: float = 0.6
    neighbours: int = 4
    name: ClassVar[str] = "fastvid"
    needs_attention: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for count in ("segments", "spacing", "neighbours"):
            require_count(self, count)
        for share in ("context", "own"):
            require_within(self, share, 0)
        require_within(self, "cut", -1)

    @eager
    @torch.no_grad()
    def select(
        self,
        features: Tensor,
        config: SharpVConfig,
        grid: tuple[int, int] | None = None,
        attention: Tensor | None = None,
    ) -> Selection:
        """Cuts the video into segments, takes the salient tokens, and sums the others up."""
        vectors, norms = widen(features)
        n, f = norms.shape
        received = require_attention(self, attention, norms)
        shares = share_tokens(budget(config, n, f), [1] * n, 0, f)
        counts = [share - int(self.context * share) for share in shares]
        salient = top_mask(received, torch.tensor(counts))
        starts = segment_starts(frame_means(vectors), self.segments, self.cut)
        borders = [*(t for t, start in enumerate(starts) if start), n]
        units = vectors * inverse(norms).unsqueeze(-1)
        places, values = [salient.flatten().nonzero().flatten()], [vectors[salient]]
        for first, end in pairwise(borders):
            context = sum(shares[first:end]) - sum(counts[first:end])
            anchors = self._spread(context, [f - count for count in counts[first:end]])
            part = slice(first, end)
            kept, merged = self._merge(vectors[part], units[part], ~salient[part], anchors)
            places.append(first * f + kept)
            values.append(merged)
        return keep_places(torch.cat(places).cpu(), features, torch.cat(values))

    def _spread(self, total: int, room: list[int]) -> list[int]:
        """Returns how many anchors each frame of a segment gets, at most its room."""
        first = [size if (t + 1 - len(room)) % self.spacing == 0 else 0 for t, size in enumerate(room)]
        counts = level(total, first)
        spare = level(total - sum(counts), [a - b for a, b in zip(room, first, strict=True)])
        return [a + b for a, b in zip(counts, spare, strict=True)]

    def _merge(self, x: Tensor, units: Tensor, loose: Tensor, counts: list[int]) -> tuple[Tensor, Tensor]:
        """Returns the anchors of one segment, int64 `[k]`, and their values `[k, d]`."""
        f = loose.shape[1]
        frames = []
        for t, count in enumerate(counts):
            if count:
                here = loose[t].nonzero().flatten()
                frames.append(t * f + here[cluster(x[t, here], count, self.neighbours)[0]])
        values = x.flatten(0, 1)
        anchors = torch.cat([*frames, values.new_empty(0).long()])
        others = loose.flatten().index_fill(0, anchors, False).nonzero().flatten()
        merged = [values[:0]]
        for targets in frames:
            means, joined = join(units.flatten(0, 1), values, targets, others)
            own = (1 / (joined + 1)).clamp(min=self.own).to(means.dtype).unsqueeze(-1)
            merged.append(torch.lerp(means, values[targets], own))
        return anchors, torch.cat(merged)
