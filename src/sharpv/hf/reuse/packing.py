"""The packed sequence: which rows go through the vision tower, and which of them serves each place."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Packing", "pack"]


@dataclass(frozen=True, slots=True)
class Packing:
    """Rows of all frames of a request that a tower computes, in one sequence.

    The whole sequence has a place for every row of every frame, one after another. In the packed one, frames
    that are computed in full come first; all indices are int64.

    Attributes:
        rows: `[N]`, the places of the whole sequence that are computed, in the packed order.
        gather: `[places]`, the packed row that serves each place of the whole sequence.
        full: (frames, rows of each) of the frames that are computed in full, in the packed order.
        partial: of every other frame with rows of its own, how many there are, and `[rows of the frame]`,
            the packed rows that serve it.
    """

    rows: Tensor
    gather: Tensor
    full: tuple[tuple[int, int], ...]
    partial: tuple[tuple[int, Tensor], ...]

    def to(self, device: torch.device) -> "Packing":
        """Returns the packing with its indices on a device."""
        if self.rows.device == device:
            return self
        partial = tuple((count, places.to(device)) for count, places in self.partial)
        return replace(self, rows=self.rows.to(device), gather=self.gather.to(device), partial=partial)


def pack(sources: Sequence[Tensor]) -> Packing:
    """Packs the rows that are computed.

    Args:
        sources: of each video int64 `[n, f]`, the frame of it whose computed row serves the place; a row is
            computed where that is its own frame.
    """
    full: dict[int, list[Tensor]] = {}
    partial, starts, start = [], [], 0
    for source in sources:
        n, f = source.shape
        places = start + torch.arange(n * f).view(n, f)
        own = source == torch.arange(n).unsqueeze(1)
        whole = own.all(1)
        full.setdefault(f, []).append(places[whole])
        partial += [frame[mask] for frame, mask in zip(places[~whole], own[~whole], strict=True)]
        starts.append(start)
        start += n * f
    groups = {f: torch.cat(frames) for f, frames in full.items()}
    rows = torch.cat([*(frames.flatten() for frames in groups.values()), *partial])
    rank = torch.empty(start, dtype=torch.long)
    rank[rows] = torch.arange(len(rows))
    served = [
        rank[first + source * source.shape[1] + torch.arange(source.shape[1])]
        for source, first in zip(sources, starts, strict=True)
    ]
    return Packing(
        rows=rows,
        gather=torch.cat([frames.flatten() for frames in served]),
        full=tuple((len(frames), f) for f, frames in groups.items() if len(frames)),
        partial=tuple(_partial(sources, served)),
    )


def _partial(sources: Sequence[Tensor], served: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
    counts = [(source == torch.arange(len(source)).unsqueeze(1)).sum(1).tolist() for source in sources]
    return [
        (count, frame)
        for video, frames in zip(counts, served, strict=True)
        for count, frame in zip(video, frames, strict=True)
        if 0 < count < len(frame)
    ]
