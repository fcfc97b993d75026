"""The packed sequence: which rows go through the vision tower, and which of them serves each place."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
        order: `[N]`, where the packed rows stand in the sequence; None where it is packed just so.
    """

    rows: Tensor
    gather: Tensor
    full: tuple[tuple[int, int], ...]
    partial: tuple[tuple[int, Tensor], ...]
    order: Tensor | None = None
    _moved: dict[torch.device, "Packing"] = field(default_factory=dict, repr=False, compare=False)

    def to(self, device: torch.device) -> "Packing":
        """Returns the packing with its indices on a device, where they are moved to once."""
        if self.rows.device == device:
            return self
        if device not in self._moved:
            self._moved[device] = Packing(
                rows=self.rows.to(device),
                gather=self.gather.to(device),
                full=self.full,
                partial=tuple((count, places.to(device)) for count, places in self.partial),
                order=None if self.order is None else self.order.to(device),
            )
        return self._moved[device]

    def within(self, whole: "Packing") -> "Packing":
        """Returns the packing for a sequence in the order of another one of the same rows."""
        return replace(self, order=whole.gather[self.rows])


def pack(sources: Sequence[Tensor], places: Sequence[Tensor] | None = None) -> Packing:
    """Packs the rows that are computed.

    Args:
        sources: of each video int64 `[n, f]`, the frame of it whose computed row serves the place; a row is
            computed where that is its own frame. Parts of frames that attend to themselves alone can stand
            for frames.
        places: of the same shapes, the place of each row in the whole sequence; one after another if None.
    """
    places = _in_order(sources) if places is None else places
    full: dict[int, list[Tensor]] = {}
    partial = []
    for source, video in zip(sources, places, strict=True):
        own = source == torch.arange(len(source)).unsqueeze(1)
        whole = own.all(1)
        full.setdefault(source.shape[1], []).append(video[whole])
        partial += [frame[mask] for frame, mask in zip(video[~whole], own[~whole], strict=True)]
    groups = {f: torch.cat(frames) for f, frames in full.items()}
    rows = torch.cat([*(frames.flatten() for frames in groups.values()), *partial])
    rank = torch.empty(sum(source.numel() for source in sources), dtype=torch.long)
    rank[rows] = torch.arange(len(rows))
    served = [rank[video.gather(0, source)] for source, video in zip(sources, places, strict=True)]
    gather = torch.empty_like(rank)
    for frames, video in zip(served, places, strict=True):
        gather[video] = frames
    return Packing(
        rows=rows,
        gather=gather,
        full=tuple((len(frames), f) for f, frames in groups.items() if len(frames)),
        partial=tuple(_partial(sources, served)),
    )


def _in_order(sources: Sequence[Tensor]) -> list[Tensor]:
    """Returns the places of rows that lie one after another."""
    places = torch.arange(sum(source.numel() for source in sources))
    parts = places.split([source.numel() for source in sources])  # type: ignore[no-untyped-call]
    return [part.view(source.shape) for part, source in zip(parts, sources, strict=True)]


def _partial(sources: Sequence[Tensor], served: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
    counts = [(source == torch.arange(len(source)).unsqueeze(1)).sum(1).tolist() for source in sources]
    return [
        (count, frame)
        for video, frames in zip(counts, served, strict=True)
        for count, frame in zip(video, frames, strict=True)
        if 0 < count < len(frame)
    ]
