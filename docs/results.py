"""Writes the tables and figures of docs/results.md from the summaries beside it, or checks that they say so.

Run from the repository's root: `python docs/results.py`, or with `--check`. `--take DIR/summary.json NAME`
puts what the page needs of a summary of `sharpv eval -o DIR` into docs/results/NAME.json (docs/take.py); one
contest may stand in several files, NAME.json and NAME.PART.json. docs/plots.py draws the picture.

Markers on the page say what stands where, in the words of `PARTS`. One may stand within a line, for a figure:
`<!-- value contest sharpv@12% accuracy by docs/results.py --><!-- end -->`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pages import filled, stale, write_or_check
from tables import measured_with

from sharpv.bench.contest_table import ContestRow, FamilyShare, Span, contest_rows, differing
from sharpv.cli.contest_show import (
    ACCURACY,
    CONDITION,
    COST,
    METHOD,
    TOKENS,
    Columns,
    besides,
    budget,
    families_table,
    markdown,
    notes,
    table_of,
)
from sharpv.cli.percent import interval, percent
from sharpv.errors import InputError

SCRIPT, PAGE, RESULTS = "docs/results.py", Path("docs/results.md"), Path("docs/results")
IN_EVERY_TABLE = ("dense", "random", "uniform")
MAY_DIFFER = ("commit",)
"""What the files of one contest need not share; times of other machines would not compare."""

COUNTS = ("questions", "clips")


@dataclass(frozen=True)
class Contest:
    """The summaries of one contest.

    Attributes:
        name: that its files share.
        paths: of the files.
        summaries: as they were taken, each with the name of its file.
        rows: of all of them.
    """

    name: str
    paths: tuple[Path, ...]
    summaries: tuple[tuple[str, dict[str, Any]], ...]
    rows: tuple[ContestRow, ...]

    @classmethod
    def read(cls, name: str) -> "Contest":
        """Reads a contest, and exits where its files are not of one."""
        paths = files(name)
        summaries = tuple((path.as_posix(), json.loads(path.read_text())) for path in paths)
        try:
            rows = contest_rows(summaries)
        except InputError as error:
            sys.exit(f"{SCRIPT}: {error}")
        other = [found for found, _ in differing(summaries) if found not in MAY_DIFFER]
        twice = sorted(
            {row.condition for row in rows if [r.condition for r in rows].count(row.condition) > 1}
        )
        if other or twice:
            sys.exit(
                f"{SCRIPT}: the files of {name!r} differ in {', '.join(other) or 'no setting'}, and in what "
                f"they found for {', '.join(twice) or 'no condition'}: give each contest a name of its own"
            )
        return cls(name, paths, summaries, rows)

    @property
    def dense(self) -> ContestRow:
        """The model with all tokens."""
        return self.rows[0]

    @property
    def model(self) -> str:
        """Its name."""
        return str(self.summaries[0][1]["model"])

    def at(self, wanted: str) -> list[ContestRow]:
        """Returns dense and the rows at a budget, "12%" or "adaptive"; exits where some are missing."""
        rows = [row for row in self.rows if row.dense or budget(row) == wanted]
        missing = [name for name in IN_EVERY_TABLE if name not in {row.method for row in rows}]
        if missing and len(rows) > 1:
            sys.exit(
                f"{SCRIPT}: {self.name!r} has no {', '.join(missing)} at {wanted}: it belongs in every table"
            )
        return rows

    def row(self, condition: str) -> ContestRow:
        """Returns the row of a condition, and exits where there is none."""
        found = [row for row in self.rows if row.condition == condition]
        if not found:
            known = ", ".join(row.condition for row in self.rows)
            sys.exit(f"{SCRIPT}: {self.name!r} has no condition {condition}; it has {known}")
        return found[0]

    def asked(self, rows: Sequence[ContestRow]) -> str:
        """Returns how many questions these rows are about, and the commands that give them."""
        names = dict.fromkeys(row.file for row in rows if not row.dense)
        commands = " and ".join(f"`{dict(self.summaries)[name]['command']}`" for name in names)
        return f"{self.dense.questions:,} questions about {self.dense.clips:,} clips, by {commands}."


def files(name: str) -> tuple[Path, ...]:
    """Returns the files of a contest, which may be none."""
    return (*sorted(RESULTS.glob(f"{name}.json")), *sorted(RESULTS.glob(f"{name}.*.json")))


def below(contest: Contest, rows: Sequence[ContestRow], cells: tuple[list[str], list[list[str]]]) -> str:
    """Returns a table with what it is of below."""
    return f"{markdown(*cells)}\n{contest.asked(rows)}"


def at_budget(name: str, wanted: str, columns: Columns | None) -> str:
    """Returns the table of these columns at one budget; None stands for those of the families."""
    contest = Contest.read(name)
    rows = contest.at(wanted)
    if rows == [contest.dense]:
        return f"Not measured yet: nothing at {wanted} in {', '.join(map(Path.as_posix, contest.paths))}."
    return below(contest, rows, families_table(rows, METHOD) if columns is None else table_of(rows, columns))


def budget_part(name: str, wanted: str) -> str:
    """`budget NAME 12%`: how often each method was right at one budget."""
    return at_budget(name, wanted, (*METHOD, *TOKENS, *ACCURACY))


def families_part(name: str, wanted: str) -> str:
    """`families NAME 12%`: the same by family of questions."""
    return at_budget(name, wanted, None)


def costs_part(name: str, wanted: str) -> str:
    """`costs NAME 12%`: what each method cost at one budget."""
    return at_budget(name, wanted, (*METHOD, *TOKENS, *COST))


def conditions_part(name: str, *conditions: str) -> str:
    """`conditions NAME a@12% b@12%`: these in this order after dense; without any, all there are."""
    contest = Contest.read(name)
    rows = [contest.dense, *map(contest.row, conditions)] if conditions else contest.rows
    return below(contest, rows, table_of(rows, (*CONDITION, *TOKENS, *ACCURACY, *besides(rows))))


def about_part(name: str) -> str:
    """`about NAME`: on what a contest was run, and how its tables are to be read."""
    contest = Contest.read(name)
    places = dict.fromkeys(measured_with(summary) for _, summary in contest.summaries)
    lines = [f"{contest.model}, {contest.dense.questions:,} questions about {contest.dense.clips:,} clips."]
    lines += [f"Measured on {' and on '.join(places)}."]
    return "\n".join(f"- {line}" for line in (*lines, *notes(contest.rows)))


def figure_part(name: str) -> str:
    """`figure NAME`: accuracy against tokens, as docs/plots.py draws it."""
    link = figure_path(name).relative_to(PAGE.parent).as_posix()
    return f"![Accuracy against the share of tokens]({link})"


def value_part(name: str, condition: str, figure: str) -> str:
    """`value NAME a@12% accuracy`: a figure of a condition, or its share of a family; shares in %."""
    row = Contest.read(name).row(condition)
    found = row.families.get(figure) or getattr(row, figure, None)
    value = found.value if isinstance(found, Span | FamilyShare) else found
    if not isinstance(value, int | float):
        sys.exit(f"{SCRIPT}: {condition} of {name!r} has no figure {figure}")
    if figure in COUNTS:
        return f"{value:,}"
    return f"{value:.2f}" if figure == "scoring_ms" else percent(value)


def clips_part(name: str, wanted: str = "") -> str:
    """`clips NAME 12%`: on real clips, how far the logits are from those of dense; all, or at one budget."""
    (path,) = files(name)
    summary = json.loads(path.read_text())
    lines = []
    for condition, found in summary["conditions"].items():
        at = condition.partition("@")[2].partition("#")[0]
        if wanted and at not in ("", wanted):
            continue
        kl, same, cost = found["kl"], found["agreement"], found["cost"]
        ends = "" if kl["low"] is None else f" ({kl['low']:.3f}-{kl['high']:.3f})"
        agreement = interval(same["value"], same["low"], same["high"])
        shares = [percent(cost[share]["mean"]) for share in ("kept_share", "layer_share")]
        lines.append([condition, *shares, f"{kl['mean']:.3f}{ends}", agreement, f"{same['n']:,}"])
    head = ["condition", "tokens %", "layers %", "KL, nats per token", "agreement %", "n tokens"]
    return f"{markdown(head, lines)}\n{summary['clips']} clips, by `{summary['command']}`."


PARTS: dict[str, Callable[..., str]] = {
    "about": about_part,
    "budget": budget_part,
    "families": families_part,
    "costs": costs_part,
    "conditions": conditions_part,
    "clips": clips_part,
    "figure": figure_part,
    "value": value_part,
}


def part(what: str) -> str:
    """Returns what a marker names: a kind of `PARTS`, the name of a contest, and what the kind asks for."""
    kind, name, *given = what.split()
    if kind not in PARTS:
        sys.exit(f"{SCRIPT}: got a marker {what!r}: its first word is one of {', '.join(PARTS)}")
    if not files(name):
        return f"Not measured yet: no {(RESULTS / name).as_posix()}.json."
    return PARTS[kind](name, *given)


def figure_path(name: str) -> Path:
    """Returns where the picture of a contest stands."""
    return RESULTS / f"{name}.svg"


def figures() -> list[str]:
    """Returns the contests of which the page shows a picture."""
    found: list[str] = []

    def note(what: str) -> str:
        kind, name, *_ = what.split()
        if kind == "figure" and files(name) and name not in found:
            found.append(name)
        return ""

    if PAGE.exists():
        filled(PAGE.read_text(), SCRIPT, note)
    return found


def main() -> None:
    """Writes the page, checks it with `--check`, or takes a summary with `--take`."""
    if sys.argv[1:2] == ["--take"]:
        from take import take  # noqa: PLC0415 - the page needs no torch, taking does

        take(RESULTS, *sys.argv[2:])
        return
    problems = [problem for name in figures() for problem in stale(figure_path(name), files(name))]
    write_or_check(PAGE, SCRIPT, part, problems)


if __name__ == "__main__":
    main()
