"""The rule of `sharpv.core.reuse` as plain loops in float64: slow, and the ground truth of the fast path."""

from torch import Tensor, tensor

from sharpv.config import VisionReuse

__all__ = ["plan_source"]

Picture = list[list[float]]
Unit = list[list[Picture]]
"""Levels of what is encoded as one, by patch and source frame, channel, row and column."""


def plan_source(frames: Tensor, unit: int, settings: VisionReuse, patch: int | None = None) -> Tensor:
    """Returns `ReusePlan.source` of frames `[n, 3, H, W]` or `[n, s, 3, H, W]`, int64 `[n, f]`."""
    rows, cols = frames.shape[-2] // unit, frames.shape[-1] // unit
    video = [
        _units(frame if frame.ndim == 4 else frame[None], unit, patch or unit, rows, cols) for frame in frames
    ]
    places = range(rows * cols)
    source: list[list[int]] = []
    for t, units in enumerate(video):
        sources = []
        for i in places:
            encoded = [j for j in range(t) if source[j][i] == j][-settings.window :]
            young = [j for j in encoded if settings.max_age is None or t - j <= settings.max_age]
            nearest = min(young, key=lambda j: (_cells_apart(video[j][i], units[i]), -j), default=t)
            sources.append(t if _has_changed(video[nearest][i], units[i], settings) else nearest)
        changed = [s == t for s in sources]
        spread = [any(changed[j] for j in places if _apart(i, j, cols) <= settings.dilate) for i in places]
        if sum(spread) > settings.full_frame * len(places):
            spread = [True for _ in places]
        source.append([t if new else s for new, s in zip(spread, sources, strict=True)])
    return tensor(source)


def _has_changed(a: Unit, b: Unit, settings: VisionReuse) -> bool:
    return _cells_apart(a, b) > settings.threshold or _pixels_apart(a, b) > settings.texture


def _cells_apart(a: Unit, b: Unit) -> float:
    """Returns the worst cell of any patch and source frame: |difference of means|, mean over the channels."""
    half = len(a[0][0]) // 2
    corners = [(top, left) for top in (0, half) for left in (0, half)]
    return max(
        # Divided once, so that equal distances are equal.
        sum(abs(_sum(x, *at, half) - _sum(y, *at, half)) for x, y in zip(one, other, strict=True))
        / (3 * half**2)
        for one, other in zip(a, b, strict=True)
        for at in corners
    )


def _pixels_apart(a: Unit, b: Unit) -> float:
    """Returns the mean absolute difference of the patch and source frame where it is largest."""
    return max(
        sum(abs(x - y) for x, y in zip(_levels(one), _levels(other), strict=True)) / len(_levels(one))
        for one, other in zip(a, b, strict=True)
    )


def _units(frame: Tensor, unit: int, side: int, rows: int, cols: int) -> list[Unit]:
    whole: list[list[Picture]] = frame.double().round().clamp(0, 255).tolist()
    return [
        [
            [_cut(channel, top, left, side) for channel in picture]
            for picture in whole
            for top in range(unit * r, unit * (r + 1), side)
            for left in range(unit * c, unit * (c + 1), side)
        ]
        for r in range(rows)
        for c in range(cols)
    ]


def _cut(picture: Picture, top: int, left: int, side: int) -> Picture:
    return [line[left : left + side] for line in picture[top : top + side]]


def _sum(picture: Picture, top: int, left: int, side: int) -> float:
    return sum(map(sum, _cut(picture, top, left, side)))


def _levels(picture: list[Picture]) -> list[float]:
    return [level for channel in picture for line in channel for level in line]


def _apart(i: int, j: int, cols: int) -> int:
    """Returns the steps between two places of the grid, diagonal ones counting as one."""
    return max(abs(i // cols - j // cols), abs(i % cols - j % cols))
