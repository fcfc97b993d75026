"""How rows of `sharpv eval` look: as tables in the terminal, in Markdown and in CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

from sharpv.bench.contest_table import ContestRow, FamilyShare, Span
from sharpv.cli import output
from sharpv.cli.percent import difference, interval, percent

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "ACCURACY",
    "CONDITION",
    "COST",
    "METHOD",
    "NONE",
    "REUSE",
    "STAGE_2",
    "TOKENS",
    "Columns",
    "besides",
    "budget",
    "csv_text",
    "families_table",
    "kind",
    "markdown",
    "notes",
    "show_rows",
    "stands_twice",
    "table_of",
    "tables",
]

NONE = "-"
NOTES = (
    "accuracy in %, the mean of the families of questions; 95 % intervals over clips",
    "against dense, random: difference in points over all questions, the same ones of both",
    "tokens %: of the video's, that enter the LLM; layers %: that a layer reads, the mean over layers",
    "scoring: median ms per clip, without reading a tower's attention and what happens inside the LLM",
    "prefill, FLOPs (counted, and by the papers' formula), cache: % of dense",
    "a synthetic world: what holds for a small model there need not hold for a large one elsewhere",
)
OTHER_QUESTIONS = "the files asked different questions: compare the rows of one file"
TWICE = "what files found differently on the same questions stands once for each"
OURS, BLIND = "sharpv", ("random", "uniform")
WIDE = 1000
"""Columns: a table is never broken, not even by a terminal that is too narrow."""

Columns = tuple[tuple[str, Callable[[ContestRow], str]], ...]
"""Titles, and what stands below them in the line of a row."""

Cells = tuple[list[str], list[list[str]]]
"""Titles, and lines of cells."""


def budget(row: ContestRow) -> str:
    """Returns the share of tokens that a row was allowed: "12%", "adaptive", or nothing outside a contest."""
    if row.budget is None:
        return ""
    return row.budget if isinstance(row.budget, str) else f"{100 * row.budget:g}%"


def _kept(kept: Span | None) -> str:
    """Returns the mean over clips, and the range where it is not the same for all."""
    if kept is None or kept.low is None or kept.high is None:
        return NONE
    return percent(kept.value) if kept.high - kept.low < 1e-9 else interval(kept.value, kept.low, kept.high)


def _accuracy(found: Span | FamilyShare | None) -> str:
    if found is None or found.low is None or found.high is None:
        return NONE
    return interval(found.value, found.low, found.high)


def _difference(found: Span | None) -> str:
    return NONE if found is None else difference(found.value, found.low, found.high)


METHOD: Columns = (("method", lambda row: row.method),)
CONDITION: Columns = (("condition", lambda row: row.condition),)
BUDGET: Columns = (("budget", budget),)
FILE: Columns = (("file", lambda row: row.file),)
TOKENS: Columns = (
    ("tokens %", lambda row: _kept(row.tokens)),
    ("layers %", lambda row: _kept(row.layers)),
)
ACCURACY: Columns = (
    ("accuracy", lambda row: _accuracy(row.accuracy)),
    ("against dense", lambda row: _difference(row.against_dense)),
    ("against random", lambda row: _difference(row.against_random)),
    ("agreement", lambda row: percent(row.agreement) or NONE),
)
COST: Columns = (
    ("scoring ms", lambda row: NONE if row.scoring_ms is None else f"{row.scoring_ms.value:.2f}"),
    ("prefill %", lambda row: NONE if row.prefill is None else percent(row.prefill.value)),
    ("FLOPs %", lambda row: percent(row.flops) or NONE),
    ("papers' FLOPs %", lambda row: percent(row.paper_flops) or NONE),
    ("cache %", lambda row: percent(row.cache) or NONE),
)
STAGE_2: Columns = (
    ("facts in captions", lambda row: percent(row.caption_facts) or NONE),
    ("layers out", lambda row: NONE if row.layers_out is None else f"{row.layers_out:.1f}"),
)
"""What stage 2 changes: it acts on what comes after the first word of an answer."""

REUSE: Columns = (
    ("patches %", lambda row: _kept(row.patches)),
    ("against all patches", lambda row: _difference(row.against_whole)),
)
"""What the vision tower encoded of the clips, and how far that is from all of it."""


def table_of(rows: Sequence[ContestRow], columns: Columns) -> Cells:
    """Returns the titles of the columns, and a line of cells per row."""
    return [title for title, _ in columns], [[cell(row) for _, cell in columns] for row in rows]


def families_table(rows: Sequence[ContestRow], who: Columns) -> Cells:
    """Returns accuracy by family: the titles, what a constant answer would get, and a line per row.

    Args:
        rows: one or more.
        who: the columns that say which row it is.
    """

    def cell(family: str) -> Callable[[ContestRow], str]:
        return lambda row: _accuracy(row.families.get(family))

    columns, constants = [], []
    for family in dict.fromkeys(name for row in rows for name in row.families):
        shares = [row.families[family] for row in rows if family in row.families]
        # The controls may have been asked fewer.
        counts = sorted({share.n for share in shares}, reverse=True)
        columns.append((f"{family} (n {'/'.join(map(str, counts))})", cell(family)))
        best = {share.constant for share in shares}
        constants.append(percent(best.pop()) or NONE if len(best) == 1 else NONE)
    head, lines = table_of(rows, (*who, *columns))
    return head, [["best constant", *[""] * (len(who) - 1), *constants], *lines]


def tables(rows: Sequence[ContestRow], by_family: bool = False) -> list[Cells]:
    """Returns the table of all rows, and that by family where wanted."""
    who = (*(FILE if stands_twice(rows) else ()), *METHOD, *BUDGET)
    made = [table_of(rows, (*who, *TOKENS, *ACCURACY, *COST, *besides(rows)))]
    return [*made, families_table(rows, who)] if by_family else made


def besides(rows: Sequence[ContestRow]) -> Columns:
    """Returns the columns of stage 2 and of vision reuse, as far as they say anything."""
    later = STAGE_2 if any(row.layers_out is not None for row in rows) else ()
    return (*later, *REUSE) if any(row.patches is not None for row in rows) else later


def stands_twice(rows: Sequence[ContestRow]) -> bool:
    """Says whether a condition stands more than once, so that files have to be told apart."""
    return len({row.condition for row in rows}) < len(rows)


def notes(rows: Sequence[ContestRow]) -> list[str]:
    """Returns what the columns mean, and which rows do not compare."""
    if len({row.asked for row in rows}) > 1:
        return [*NOTES, OTHER_QUESTIONS]
    return [*NOTES, TWICE] if stands_twice(rows) else list(NOTES)


def show_rows(rows: Sequence[ContestRow], by_family: bool = False) -> None:
    """Prints a line per row, by family too where wanted, and what the columns mean."""
    main, *others = tables(rows, by_family)
    pages = [_rich(main, rows), *(_rich(cells, (None, *rows)) for cells in others)]
    output.show([*pages, *notes(rows)], WIDE)


def _rich(cells: Cells, rows: Sequence[ContestRow | None]) -> "Table":
    """Returns a table with a gap between budgets; our methods are bold, those that look at nothing dim."""
    from rich import box
    from rich.table import Table

    made = Table(*cells[0], box=box.SIMPLE, pad_edge=False)
    styles = {"ours": "bold", "blind": "dim"}
    before = rows[0]
    for row, line in zip(rows, cells[1], strict=True):
        if row is not None and before is not None and row.budget != before.budget:
            made.add_section()
        made.add_row(*line, style=None if row is None else styles.get(kind(row)))
        before = row
    return made


def kind(row: ContestRow) -> Literal["ours", "peer", "blind"]:
    """Says whether a method is SharpV with whatever options, looks at nothing, or is another's."""
    if row.method.startswith(OURS):
        return "ours"
    return "blind" if row.method.partition(" ")[0] in BLIND else "peer"


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Returns a table of Markdown."""
    whole = [head, ["---"] * len(head), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in whole)


def csv_text(rows: Sequence[ContestRow], by_family: bool = False) -> str:
    """Returns a line per row, with a column per figure and per end of an interval; all shares are of 1."""
    lines = [_flat(row, by_family) for row in rows]
    text = io.StringIO()
    columns = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _flat(row: ContestRow, by_family: bool) -> dict[str, Any]:
    found = {item.name: getattr(row, item.name) for item in fields(row) if item.name != "families"}
    if by_family:
        found |= row.families
    flat: dict[str, Any] = {}
    for name, value in found.items():
        if isinstance(value, Span | FamilyShare):
            flat |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            flat[name] = value
    return flat
