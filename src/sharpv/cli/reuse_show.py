"""What vision reuse did in a request, in lines."""

from sharpv.report import Report
from sharpv.viz.encoded import encoded_words

__all__ = ["reuse_lines"]


def reuse_lines(report: Report) -> list[str]:
    """Returns a line for each video of a request with reuse."""
    lines = []
    for number, video in enumerate(report.videos, 1):
        if video.reuse is not None:
            name = "vision tower" if len(report.videos) == 1 else f"vision tower, video {number}"
            lines.append(f"{name}: {encoded_words(video.reuse)}")
    return lines
