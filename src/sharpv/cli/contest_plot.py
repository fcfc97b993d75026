"""Rows of `sharpv eval` as the lines and bands of a plot."""

from collections.abc import Sequence

from sharpv.bench.contest_table import ContestRow
from sharpv.cli.contest_show import kind, stands_twice
from sharpv.viz.accuracy_plot import Line

__all__ = ["dense_bands", "plot_lines"]


def plot_lines(rows: Sequence[ContestRow]) -> list[Line]:
    """Returns a line per method, and per file where those have to be told apart.

    The share of tokens is the mean over layers, so that what acts inside the LLM stands where its cost is.
    """
    told_apart = stands_twice(rows)
    groups: dict[str, list[ContestRow]] = {}
    for row in rows:
        if row.layers is not None and not row.dense:
            name = f"{row.method} ({row.file})" if told_apart else row.method
            groups.setdefault(name, []).append(row)
    return [
        Line(
            name,
            points=tuple(_point(row) for row in group if not isinstance(row.budget, str)),
            stars=tuple(_point(row) for row in group if isinstance(row.budget, str)),
            kind=kind(group[0]),
        )
        for name, group in groups.items()
    ]


def _point(row: ContestRow) -> tuple[float, float]:
    return (row.layers.value if row.layers else 1.0), row.accuracy.value


def dense_bands(rows: Sequence[ContestRow]) -> list[tuple[str, float, float, float]]:
    """Returns name, accuracy and interval of dense, once for each file that found it differently."""
    dense = [row for row in rows if row.dense]
    return [
        (
            row.condition if len(dense) == 1 else f"{row.condition} ({row.file})",
            row.accuracy.value,
            row.accuracy.low or 0.0,
            row.accuracy.high or 0.0,
        )
        for row in dense
    ]
