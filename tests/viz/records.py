"""Hand-made records of what was kept."""

from typing import Any

from sharpv.config import SharpVConfig
from sharpv.report import Report, VideoReport

GRID = (2, 3)
WHOLE = (0.0, 0.0, 1.0, 1.0)
KEPT = [["#..", ".##"], ["..#", "..."]]


def drawn(*frames: str) -> tuple[tuple[bool, ...], ...]:
    """Returns the mask of frames whose tokens are drawn in raster order, # for a kept one."""
    return tuple(tuple(token == "#" for token in frame) for frame in frames)


def record(*frames: str, **fields: Any) -> VideoReport:
    """Returns the record of frames that are drawn; of nothing but the mask, unless told more."""
    kept = drawn(*frames)
    fields = {"ratios": ()} | fields
    return VideoReport(row=0, frames=len(kept), tokens_per_frame=len(kept[0]), kept=kept, **fields)


def report(*videos: VideoReport, **fields: Any) -> Report:
    """Returns the record of a request with these videos."""
    fields = {"config": SharpVConfig()} | fields
    return Report(model="made", prompt_tokens=(9,), prompt_tokens_kept=(5,), videos=videos, **fields)


BARE = record(*("".join(frame) for frame in KEPT))
VIDEO = record(*("".join(frame) for frame in KEPT), grid=GRID, window=WHOLE)
