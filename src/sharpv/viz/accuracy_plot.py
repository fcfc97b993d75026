"""Accuracy against the tokens that were kept, as a picture; needs matplotlib, of the extra viz."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sharpv.viz.plots import STYLE

__all__ = ["Line", "accuracy_plot"]

# Of Okabe and Ito, and of Tol's muted scheme: the colour-blind can tell either apart; markers differ, too.
OURS = ("#D55E00", "#0072B2", "#000000", "#E69F00", "#009E73")
PEERS = ("#332288", "#999933", "#AA4499", "#117733", "#88CCEE", "#882255", "#DDCC77", "#44AA99", "#CC6677")
BLIND, DENSE = "#777777", "#444444"
PEER_MARKERS, PEER_DASHES = "ovDXP<>^hds", ("-", "--")
OUR_MARKERS, BLIND_DASHES = "os^Dvp", (":", "-", "-.")
TICKS = (1, 2, 3, 5, 10, 12, 15, 25, 50, 100)
STARS = "stars: the video decides; grey band: 95 % interval of dense"
KEY: dict[str, Any] = {"frameon": False, "handlelength": 2.6, "labelspacing": 0.55}


@dataclass(frozen=True, slots=True)
class Line:
    """One method: where it stands at each budget.

    Attributes:
        name: of the method.
        points: share of tokens and accuracy, both of 1, at each budget.
        stars: the same where the video decided how much was kept.
        kind: "ours" stands out, "blind" looks at nothing and is grey, all else is a "peer".
    """

    name: str
    points: tuple[tuple[float, float], ...]
    stars: tuple[tuple[float, float], ...]
    kind: Literal["ours", "peer", "blind"]


@dataclass(frozen=True, slots=True)
class _Look:
    colour: str
    marker: str
    width: float
    dash: str
    above: int


def accuracy_plot(
    lines: Sequence[Line], dense: Sequence[tuple[str, float, float, float]], title: str
) -> Figure:
    """Draws accuracy against the share of tokens: a line per method, stars for what the video decided.

    Args:
        lines: one or more, each with a point or a star.
        dense: name, accuracy and 95 % interval of the model with all tokens, drawn as a band; several where
            different questions were asked.
        title: what was measured.

    Raises:
        ValueError: nothing to draw, or a line without a point or star.
    """
    if not lines or not all(line.points or line.stars for line in lines):
        raise ValueError("got no method, or one without a point: give at least one condition that prunes")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10.5, 6.6), layout="constrained")
        axes = figure.subplots()
        for name, value, low, high in dense:
            axes.axhspan(100 * low, 100 * high, color="#EEEEEE", zorder=0, linewidth=0)
            axes.axhline(100 * value, color=DENSE, linewidth=1.0, linestyle=(0, (6, 3)), zorder=1)
            axes.annotate(
                name,
                (0.01, 100 * value),
                (0, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
            )
        # By name, so that a method looks the same in all pictures of the same methods.
        lines = sorted(lines, key=lambda line: line.name)
        for line, look in zip(lines, _looks(lines), strict=True):
            _draw(axes, line, look)
        _frame(axes, lines, title)
        _name(figure, axes, lines)
    return figure


def _looks(lines: Sequence[Line]) -> Iterator[_Look]:
    """Yields how each line looks: ours thick and above the others, and no two alike."""
    seen: Counter[str] = Counter()
    for line in lines:
        number = seen[line.kind]
        seen[line.kind] += 1
        if line.kind == "ours":
            yield _Look(OURS[number % len(OURS)], OUR_MARKERS[number % len(OUR_MARKERS)], 2.6, "-", 4)
        elif line.kind == "blind":
            yield _Look(BLIND, ".", 1.6, BLIND_DASHES[number % len(BLIND_DASHES)], 3)
        else:
            colour, marker = PEERS[number % len(PEERS)], PEER_MARKERS[number % len(PEER_MARKERS)]
            yield _Look(colour, marker, 1.1, PEER_DASHES[number // len(PEERS) % len(PEER_DASHES)], 2)


def _draw(axes: Axes, line: Line, look: _Look) -> None:
    points = sorted(line.points)
    axes.plot(
        [100 * share for share, _ in points],
        [100 * accuracy for _, accuracy in points],
        label=line.name,
        color=look.colour,
        marker=look.marker,
        markersize=7.5 if line.kind == "ours" else 6,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=look.width,
        linestyle=look.dash,
        zorder=look.above,
    )
    for share, accuracy in line.stars:
        axes.plot(
            100 * share,
            100 * accuracy,
            color=look.colour,
            marker="*",
            markersize=15,
            markeredgecolor="white",
            linestyle="none",
            zorder=look.above + 3,
        )


def _frame(axes: Axes, lines: Sequence[Line], title: str) -> None:
    """Sets the axes: tokens logarithmic, since budgets are, with a tick at each usual budget."""
    shares = [100 * share for line in lines for share, _ in (*line.points, *line.stars)]
    axes.set_xscale("log")
    axes.set_xlim(0.9 * min(shares), 1.08 * max(shares))
    ticks = [tick for tick in TICKS if 0.9 * min(shares) <= tick <= 1.08 * max(shares)]
    axes.set_xticks(ticks, [f"{tick}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("% of the video's tokens that a layer of the LLM reads, mean over layers")
    axes.set_title(title)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.set_axisbelow(True)


def _name(figure: Figure, axes: Axes, lines: Sequence[Line]) -> None:
    """Writes the names right of the axes, from the most accurate to the least in the mean of its points."""

    def accuracy(index: int) -> float:
        return fmean(y for _, y in (*lines[index].points, *lines[index].stars))

    drawn = axes.get_legend_handles_labels()[0]
    order = sorted(range(len(lines)), key=accuracy, reverse=True)
    handles = [drawn[index] for index in order]
    legend = figure.legend(handles, [lines[index].name for index in order], loc="outside right upper", **KEY)
    for index, text in zip(order, legend.get_texts(), strict=True):
        text.set_fontweight("bold" if lines[index].kind == "ours" else "normal")
    axes.annotate(STARS, (0.99, 0.02), xycoords="axes fraction", ha="right", color="#666666", fontsize=9)
