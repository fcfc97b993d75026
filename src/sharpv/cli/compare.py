"""`sharpv compare`: two results of a bench, or any number of results of `sharpv eval`, side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug, Json
from sharpv.errors import InputError

if TYPE_CHECKING:
    from sharpv.bench.contest_table import ContestRow

__all__ = ["compare"]

SAME = "spreads overlap"
NOTES = (
    "ratio: the median after over the one before; below 1 is less time or fewer bytes",
    f"'{SAME}': noise alone may explain the difference",
)
STDOUT = "-"
Summaries = Sequence[tuple[str, dict[str, Any]]]

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="A.json B.json ...",
        help="Two results of one bench; or one or more summaries of sharpv eval, or its folders.",
        show_default=False,
    ),
]
ByFamily = Annotated[bool, typer.Option("--by-family", help="Of eval: accuracy by family of questions, too.")]
Markdown = Annotated[bool, typer.Option("--markdown", help="Of eval: as tables of Markdown.")]
Csv = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Of eval: write the rows there as CSV; - for stdout, in place of the table."
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.svg|png", help="Of eval: draw accuracy against tokens (pip install 'sharpv[viz]')."
    ),
]


def compare(
    results: Results,
    by_family: ByFamily = False,
    markdown: Markdown = False,
    csv: Csv = None,
    plot: Plot = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Set results side by side: two of a bench, or those of sharpv eval.

    Two of bench latency, growth or scoring: what changed, and whether noise may explain it. Any number of
    sharpv eval, of one model: a row per condition with its accuracy, its intervals and its cost; what several
    files found alike, such as dense on the same questions, stands once.
    """
    from sharpv.bench.compare import load_result

    if sum((json, markdown, csv == STDOUT)) > 1:
        raise typer.BadParameter("give one of --json, --markdown and --csv -: each takes the table's place")
    loaded = [(str(path), load_result(path)) for path in results]
    evals = ["suite" in result for _, result in loaded]
    if all(evals):
        _evals(loaded, by_family=by_family, markdown=markdown, csv=csv, plot=plot, json=json)
        return
    if any(evals):
        name, other = loaded[evals.index(True)][0], loaded[evals.index(False)][0]
        raise InputError(
            f"got {name!r} of `sharpv eval` and {other!r} of a bench: compare results of one at a time"
        )
    if by_family or markdown or csv is not None or plot is not None:
        raise typer.BadParameter("--by-family, --markdown, --csv and --plot are for results of sharpv eval")
    if len(loaded) != 2:
        raise typer.BadParameter(f"got {len(loaded)} result(s) of a bench: give two")
    _benches(*loaded, json=json)


def _evals(
    loaded: Summaries, *, by_family: bool, markdown: bool, csv: str | None, plot: Path | None, json: bool
) -> None:
    """Shows, or writes, what summaries of `sharpv eval` say."""
    from sharpv.bench.contest_table import contest_rows, differing
    from sharpv.cli import contest_show

    rows, differs = contest_rows(loaded), differing(loaded)
    if plot is not None:
        _draw(rows, plot, loaded)
    if csv is not None and csv != STDOUT:
        _write(Path(csv), contest_show.csv_text(rows, by_family))
    head = ["differs", *(name for name, _ in loaded)]
    settings = [(head, [[name, *map(str, values)] for name, values in differs])] if differs else []
    if json:
        found = {"suite": loaded[0][1]["suite"], "files": head[1:], "settings": dict(differs)}
        output.result(found | {"rows": [row.to_dict() for row in rows]})
    elif csv == STDOUT:
        output.answer(contest_show.csv_text(rows, by_family).rstrip("\n"))
    elif markdown:
        for cells in (*settings, *contest_show.tables(rows, by_family)):
            output.answer(contest_show.markdown(*cells))
        output.answer("\n".join(f"- {note}" for note in contest_show.notes(rows)))
    else:
        for cells in settings:
            output.table(*cells)
        contest_show.show_rows(rows, by_family)


def _draw(rows: "Sequence[ContestRow]", path: Path, loaded: Summaries) -> None:
    """Writes the plot."""
    try:
        from sharpv.cli.contest_plot import dense_bands, plot_lines
        from sharpv.viz.accuracy_plot import accuracy_plot
        from sharpv.viz.plots import FORMATS, save
    except ImportError as error:
        raise InputError(
            f"cannot draw {str(path)!r} ({error}): --plot needs matplotlib, pip install 'sharpv[viz]'"
        ) from error
    if path.suffix not in FORMATS:
        raise typer.BadParameter(f"{str(path)!r} ends in none of {', '.join(FORMATS)}", param_hint="--plot")
    summary = loaded[0][1]
    title = f"Accuracy in %, {summary['suite']}, {summary['model']}"
    try:
        save(accuracy_plot(plot_lines(rows), dense_bands(rows), title), path, "sharpv compare")
    except ValueError as error:
        raise InputError(f"cannot draw {str(path)!r}: {error}") from error
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}; give another file") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        raise InputError(f"cannot write {str(path)!r}: {error.strerror}; give another file") from error


def _benches(before: tuple[str, dict[str, Any]], after: tuple[str, dict[str, Any]], *, json: bool) -> None:
    """Shows what changed between two results of a bench."""
    from sharpv.bench.compare import compare as set_against

    found = set_against(before[1], after[1])
    if json:
        output.result(
            {
                "bench": found.bench,
                "rows": [row.to_dict() for row in found.rows],
                "settings": {name: [old, new] for name, old, new in found.settings},
                "only_before": list(found.only_before),
                "only_after": list(found.only_after),
            }
        )
        return
    if found.settings:
        output.table(("differs", before[0], after[0]), found.settings)
        output.answer("")
    output.table(("what", "before", "after", "ratio", ""), [_row(row) for row in found.rows])
    for name, missing in ((after[0], found.only_before), (before[0], found.only_after)):
        if missing:
            output.answer(f"not in {name}: {', '.join(missing)}")
    for note in NOTES:
        output.answer(note)


def _row(row: Any) -> list[str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
    same = row.before == row.after
    return [
        row.name,
        _spread(row.before),
        _spread(row.after),
        ratio,
        SAME if row.overlaps and not same else "",
    ]


def _spread(spread: tuple[float, float, float]) -> str:
    middle, low, high = spread
    return f"{middle:,.6g}" if low == high else f"{middle:,.6g} ({low:,.6g} to {high:,.6g})"
