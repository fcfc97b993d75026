"""What the commands that write parts of pages share: markers, checks for drift, stamps of pictures."""

import re
import sys
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path


def filled(page: str, script: str, make: Callable[[str], str]) -> str:
    """Returns a page with each part made again, from `<!-- what by script -->` to `<!-- end -->`.

    Args:
        page: text; a part that starts on its marker's line is a word of that line, else a block of lines.
        script: whose parts.
        make: returns a part from what its marker names.
    """

    def again(found: re.Match[str]) -> str:
        start, what, line, end = found.groups()
        return f"{start}{line}{make(what).rstrip()}{line}{end}"

    part = re.compile(rf"(<!-- ([^<>\n]+) by {re.escape(script)} -->)(\n?).*?(<!-- end -->)", re.DOTALL)
    return part.sub(again, page)


def write_or_check(page: Path, script: str, make: Callable[[str], str], problems: Sequence[str] = ()) -> None:
    """Writes a page, or with `--check` fails where it says something else.

    Args:
        page: its path.
        script: which writes it, and its options.
        make: as for `filled`.
        problems: others than the page's, to fail with as well.
    """
    old = page.read_text()
    new = filled(old, script, make)
    if sys.argv[1:] != ["--check"]:
        page.write_text(new)
        return
    found = [*problems]
    if new != old:
        found.append(f"{page} does not say what its results say: run `python {script}`")
    if found:
        sys.exit("\n".join(found))


def stamp(sources: Sequence[Path]) -> str:
    """Returns the sha256 of these files together, which tells a picture of them from that of others."""
    return sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def stale(plot: Path, sources: Sequence[Path]) -> list[str]:
    """Returns what is wrong with a picture of these files: it is missing, or of others."""
    if plot.exists() and stamp(sources) in plot.read_text():
        return []
    names = ", ".join(map(str, sources))
    return [f"{plot} is not of {names}: run `python docs/plots.py` (pip install 'sharpv[viz]')"]
