"""Hand-made records of what was kept."""

from sharpv.report import VideoReport

GRID = (2, 3)
KEPT = [["#..", ".##"], ["..#", "..."]]


def record(*frames: str) -> VideoReport:
    """Returns the record of frames whose tokens are drawn in raster order, # for a kept one."""
    kept = tuple(tuple(token == "#" for token in frame) for frame in frames)
    return VideoReport(row=0, frames=len(kept), tokens_per_frame=len(kept[0]), ratios=(), kept=kept)


VIDEO = record(*("".join(frame) for frame in KEPT))
