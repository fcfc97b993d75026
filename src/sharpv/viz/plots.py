"""Plots of a report, and how every plot looks and is saved; needs matplotlib, of the extra viz."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sharpv.report import LayerReport, Report, VideoReport
from sharpv.viz.geometry import chosen_video, kept_tokens, llm_frames

__all__ = ["FORMATS", "STYLE", "budget", "layers", "save"]

FORMATS = (".svg", ".png")
STYLE: Any = {
    "svg.hashsalt": "sharpv",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}
"""Of all pictures: text stays text, and the same data give the same file."""

# Of Okabe and Ito, which the colour-blind can tell apart.
KEPT, RATIO, DROPPED, GUIDE, QUIET = "#0072B2", "#009E73", "#D55E00", "#444444", "#666666"
# Bars leave a gap, unless there are so many that it could not be seen.
FILLED, MANY = 0.94, 100


def budget(
    report: Report,
    *,
    timestamps: Sequence[float] | NDArray[np.float64] | None = None,
    video: int = 0,
) -> Figure:
    """Draws how many tokens each frame kept, and below it r_t, where the method has it.

    Args:
        report: of the request.
        timestamps: seconds of the clip's frames, `[m]`, for an axis of time; None counts the LLM's frames.
        video: which video of the request, from 0.

    Raises:
        InputError: there is no such video, or the timestamps are of other frames than the report's.
    """
    chosen = chosen_video(report, video)
    starts, widths = _frames(chosen, timestamps)
    panels = 2 if chosen.ratios else 1
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.2 + 1.6 * panels), layout="constrained")
        axes = figure.subplots(panels, 1, sharex=True, squeeze=False, height_ratios=(3, 2)[:panels])[:, 0]
        _bars(axes[0], chosen, starts, widths)
        if chosen.ratios:
            _ratios(axes[1], chosen.ratios, starts + widths / 2)
        figure.align_ylabels()
        axes[-1].set_xlabel(
            "frame, as the LLM counts them, from 1" if timestamps is None else "time in the clip, s"
        )
        if timestamps is None:
            axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def layers(report: Report, *, video: int = 0) -> Figure:
    """Draws how much each decoder layer's hidden states of the video resemble the features, and M.

    Where stage 2 was off, or the model has no layer to measure, the picture says so.

    Args:
        report: of the request.
        video: a video of the row of the batch to draw, from 0.

    Raises:
        InputError: there is no such video.
    """
    row = chosen_video(report, video).row
    measured = [layer for layer in report.layers if layer.similarity[row] is not None]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        axes = figure.subplots()
        axes.set_ylabel("similarity to the features\n(mean cosine over visual tokens)")
        axes.set_xlabel(f"decoder layer, measured at its {report.config.memory_probe}")
        if measured:
            _similarities(axes, measured, row, report)
        else:
            _say_why(axes, report)
    return figure


def save(figure: Figure, path: Path, creator: str, source: str | None = None) -> None:
    """Writes a picture, the same bytes for the same data.

    Args:
        figure: the picture.
        path: ends in .svg or .png.
        creator: what drew it.
        source: what it was drawn from, written into an SVG.
    """
    metadata: dict[str, str | None] = {"Creator" if path.suffix.lower() == ".svg" else "Software": creator}
    if path.suffix.lower() == ".svg":
        metadata |= {"Date": None, "Source": source}
    with mpl.rc_context(STYLE):
        figure.savefig(path, metadata=metadata, dpi=150)


def _frames(
    video: VideoReport, timestamps: Sequence[float] | NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where each frame of the LLM starts on the axis, and how wide it is, `[n]`: it lasts until the next."""
    if timestamps is None:
        return np.arange(video.frames, dtype=np.float64) + 0.5, np.ones(video.frames)
    held = llm_frames(video, len(timestamps))
    times = np.asarray(timestamps, dtype=np.float64)
    # The clip's last frame lasts as long as the one before it.
    end = 2 * times[-1] - times[-2] if len(times) > 1 else times[-1] + 1
    starts = times[np.unique(held, return_index=True)[1]]
    return starts, np.diff(starts, append=end)


def _bars(axes: Axes, video: VideoReport, starts: NDArray[np.float64], widths: NDArray[np.float64]) -> None:
    kept, dense = kept_tokens(video).sum(axis=1), video.tokens_per_frame
    filled = FILLED if len(kept) <= MANY else 1.0
    axes.bar(starts, kept, filled * widths, align="edge", color=KEPT, linewidth=0)
    _guide(axes, dense, f"dense: {dense}")
    axes.set_ylim(0, 1.12 * dense)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("tokens per frame")
    until = "" if video.kept_inside is None else " to the last layer"
    share = kept.sum() / video.tokens_total
    axes.set_title(f"Tokens kept{until}: {kept.sum():,} of {video.tokens_total:,} ({share:.1%})")


def _ratios(axes: Axes, ratios: Sequence[float], middles: NDArray[np.float64]) -> None:
    axes.plot(middles, ratios, color=RATIO, marker="o", markersize=4, linewidth=1.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("$r_t$, 0 to 1")
    axes.set_title("Retention ratio of each frame")
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def _guide(axes: Axes, value: float, text: str) -> None:
    """Draws a dashed line across, and names it."""
    axes.axhline(value, color=GUIDE, linewidth=1.0, linestyle=(0, (6, 3)), zorder=0.9)
    axes.annotate(
        text,
        (1, value),
        (0, 3),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="right",
        color=GUIDE,
    )


def _similarities(axes: Axes, measured: Sequence[LayerReport], row: int, report: Report) -> None:
    numbers = np.array([layer.layer for layer in measured])
    similarity = np.array([layer.similarity[row] for layer in measured], dtype=np.float64)
    dropped = np.array([layer.dropped[row] for layer in measured])
    axes.plot(numbers, similarity, color=QUIET, linewidth=1.2, zorder=1)
    for where, colour, marker, label in (
        (~dropped, KEPT, "o", "keeps its video"),
        (dropped, DROPPED, "X", "gave its video up"),
    ):
        x, y, text = numbers[where], similarity[where], f"{label}: {where.sum()}"
        axes.scatter(x, y, s=48, color=colour, marker=marker, label=text)
    threshold = report.config.memory_threshold
    if threshold is not None:
        _guide(axes, threshold, f"M = {threshold:g}")
    axes.set_ylim(min(0, similarity.min() - 0.05), 1.05)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(f"Layers that gave up their video: {dropped.sum()} of {len(dropped)}")
    axes.figure.legend(loc="outside upper right", ncols=2, frameon=False)


def _say_why(axes: Axes, report: Report) -> None:
    off = report.config.memory_threshold is None
    axes.set_title("No layer gave up its video")
    axes.annotate(
        "Stage 2 was off (memory_threshold=None)." if off else "The request had no KV cache to prune.",
        (0.5, 0.5),
        xycoords="axes fraction",
        ha="center",
        color=QUIET,
    )
    axes.set_xticks([])
    axes.set_yticks([])
