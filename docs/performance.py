"""Writes the tables of docs/performance.md from the results beside it, or checks that they say so.

Run from the repository's root: `python docs/performance.py`, or with `--check`. A result is the last line of
`sharpv bench latency`, `growth` or `scoring`, saved under docs/performance/; docs/tables.py makes its tables,
docs/plots.py draws those of growth.
"""

import json
import re
import sys
from hashlib import sha256
from pathlib import Path

from tables import remaining_table, tables_of

PAGE, RESULTS = Path("docs/performance.md"), Path("docs/performance")
TABLES = re.compile(r"(<!-- ([\w.-]+) by docs/performance.py -->\n).*?(<!-- end -->)", re.DOTALL)
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


def stale_plots() -> list[str]:
    """Returns the pictures that are missing, or drawn from another result than the one beside them."""
    return [
        f"{plot} is not of {path}: run `python docs/plots.py` (pip install 'sharpv[viz]')"
        for path in sorted(RESULTS.glob("growth-*.json"))
        for plot in [path.with_suffix(".svg")]
        if not plot.exists() or sha256(path.read_bytes()).hexdigest() not in plot.read_text()
    ]


def main() -> None:
    """Writes the page, or with `--check` fails where it or a picture says something else."""
    page = PAGE.read_text()
    new = TABLES.sub(lambda found: found[1] + tables(found[2]) + found[3], page)
    if sys.argv[1:] != ["--check"]:
        PAGE.write_text(new)
        return
    problems = stale_plots()
    if new != page:
        problems.append(f"{PAGE} does not say what its results say: run `python docs/performance.py`")
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
