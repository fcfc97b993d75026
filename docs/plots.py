"""Draws the results of `sharpv bench growth` under docs/performance/, and the contests of docs/results.md.

Run from the repository's root: `python docs/plots.py`; needs matplotlib (`pip install 'sharpv[viz]'`). A
picture stands beside its results and holds their sha256, by which `docs/performance.py --check` and
`docs/results.py --check` tell it from that of others.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pages import stamp
from results import Contest, figure_path, figures

from sharpv.cli.contest_plot import dense_bands, plot_lines
from sharpv.viz.accuracy_plot import accuracy_plot
from sharpv.viz.plots import STYLE, save

RESULTS = Path("docs/performance")
# Of the palette of Okabe and Ito, which the colour-blind can tell apart; so can grey print, by the markers.
DENSE, PRUNED, SCORING, GUIDE = "#D55E00", "#0072B2", "#009E73", "#000000"
Point = dict[str, Any]


def line(
    axes: Axes,
    points: list[Point],
    along: str,
    of: Callable[[Point], list[float]],
    colour: str,
    marker: str,
    label: str,
) -> None:
    """Draws medians with bars from the smallest to the largest, and says at the last one what they are."""
    x = [point[along] for point in points]
    middle, low, high = np.array([of(point) for point in points]).T
    axes.errorbar(
        x, middle, (middle - low, high - middle), color=colour, marker=marker, markersize=5, linewidth=1.5
    )
    name_end(axes, x[-1], middle[-1], label, colour)


def name_end(axes: Axes, x: float, y: float, label: str, colour: str) -> None:
    """Writes a line's name right of its last point."""
    axes.annotate(label, (x, y), (9, 0), textcoords="offset points", color=colour, va="center")


def explain(axes: Axes, text: str) -> None:
    """Writes in the lower right corner what the lines are."""
    axes.annotate(text, (0.98, 0.02), xycoords="axes fraction", ha="right", color="#666666", fontsize=9)


def times(axes: Axes, points: list[Point], along: str) -> None:
    """Draws the prefill of both sides, and scoring against a line that is exactly proportional."""
    for side, colour, marker in (("dense", DENSE, "o"), ("sharpv", PRUNED, "s")):
        line(
            axes,
            points,
            along,
            lambda point, side=side: point["sides"][side]["ms"]["prefill"],
            colour,
            marker,
            f"prefill, {'dense' if side == 'dense' else 'pruned'}",
        )
    line(
        axes, points, along, lambda point: point["sides"]["sharpv"]["ms"]["scoring"], SCORING, "^", "scoring"
    )
    x = np.array([point[along] for point in points])
    start = points[0]["sides"]["sharpv"]["ms"]["scoring"][0]
    axes.plot(x, start * x / x[0], color=GUIDE, linestyle=":", linewidth=1.2, zorder=3)
    explain(axes, "dotted: scoring in proportion")
    axes.set_title("milliseconds")


def memory(axes: Axes, points: list[Point], along: str) -> None:
    """Draws the bytes that the cache holds as markers, and those predicted as lines."""
    x = [point[along] for point in points]
    for side, colour, marker in (("dense", DENSE, "o"), ("sharpv", PRUNED, "s")):
        held, predicted = (
            [point["sides"][side][key] / 1e6 for point in points]
            for key in ("kv_bytes", "kv_bytes_predicted")
        )
        axes.plot(x, predicted, color=colour, linewidth=1.2)
        axes.plot(x, held, color=colour, linestyle="none", marker=marker, markersize=5)
        name_end(axes, x[-1], held[-1], "dense" if side == "dense" else "pruned", colour)
    explain(axes, "markers: held, lines: predicted")
    axes.set_title("KV cache after the prefill, MB")


def panel(axes: Axes, draw: Callable[..., None], points: list[Point], along: str, label: str) -> None:
    """Draws one quantity against frames or rows, both axes logarithmic."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    draw(axes, points, along)
    ticks = [point[along] for point in points]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.set_xlabel(label)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def draw(result: dict[str, Any]) -> Figure:
    """Returns time and bytes against frames, and against rows."""
    spec, points = result["spec"], result["points"]
    fewest = min(spec["frames"])
    rows = (
        (
            "frames",
            "frames of one row",
            [p for p in points if p["batch"] == 1 and p["frames"] in spec["frames"]],
        ),
        (
            "batch",
            f"rows of {fewest} frames",
            [p for p in points if p["frames"] == fewest and p["batch"] in spec["batches"]],
        ),
    )
    figure = Figure(figsize=(10.5, 7.6), layout="constrained")
    for line_of, (along, label, chosen) in zip(figure.subplots(2, 2), rows, strict=True):
        for axes, what in zip(line_of, (times, memory), strict=True):
            panel(axes, what, chosen, along, label)
    figure.suptitle(
        f"{result['card']['model']['name']}, {spec['config']['retention']:.0%} of the video's tokens kept, "
        f"{result['device_name']}, {result['threads']} threads",
        fontsize=10,
    )
    return figure


def main() -> None:
    """Draws every result."""
    mpl.rcParams.update(STYLE)
    for path in sorted(RESULTS.glob("growth-*.json")):
        picture = draw(json.loads(path.read_bytes()))
        save(picture, path.with_suffix(".svg"), "docs/plots.py", f"sha256 {stamp([path])}")
    for name in figures():
        contest = Contest.read(name)
        dense = contest.dense
        title = f"Accuracy in %, {dense.questions:,} questions about {dense.clips:,} clips, {contest.model}"
        picture = accuracy_plot(plot_lines(contest.rows), dense_bands(contest.rows), title)
        save(picture, figure_path(name), "docs/plots.py", f"sha256 {stamp(contest.paths)}")


if __name__ == "__main__":
    main()
