"""Writes the tables of docs/performance.md from the results beside it, or checks that they say so.

Run from the repository's root: `python docs/performance.py`, or with `--check`. A result is the last line of
`sharpv bench latency`, `growth` or `scoring`, saved under docs/performance/; docs/tables.py makes its tables,
docs/plots.py draws those of growth.
"""

import json
from pathlib import Path

from pages import stale, write_or_check
from tables import remaining_table, tables_of

PAGE, RESULTS = Path("docs/performance.md"), Path("docs/performance")
REMAINING = "remaining"


def tables(name: str) -> str:
    """Returns what the page says of a result in docs/performance/, or of all in one table."""
    if name == REMAINING:
        found = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
        pruned = [
            one
            for one in found
            if one["bench"] == "latency"
            and "sharpv" in one["sides"]
            and one["spec"]["config"]["retention"] not in (1.0, "adaptive")
        ]
        return "\n".join(remaining_table(pruned)) + "\n"
    path = RESULTS / name
    if not path.exists():
        return f"Not measured yet: no {path}.\n"
    return "\n".join(tables_of(json.loads(path.read_text()), name)) + "\n"


def main() -> None:
    """Writes the page, or with `--check` fails where it or a picture says something else."""
    results = sorted(RESULTS.glob("growth-*.json"))
    problems = [problem for path in results for problem in stale(path.with_suffix(".svg"), [path])]
    write_or_check(PAGE, "docs/performance.py", tables, problems)


if __name__ == "__main__":
    main()
