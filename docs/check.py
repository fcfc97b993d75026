"""Checks that the docs are true: links, snippets, commands, and the tree in the README.

Run from the repository's root: `python docs/check.py`.
"""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import sharpv
from sharpv.config import SharpVConfig

PAGES = [Path("README.md"), Path("CHANGELOG.md"), *sorted(Path("docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\((?!https?://|#)([^)#]+)[^)]*\)")
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)
SHELL = re.compile(r"^sharpv (\w+)", re.MULTILINE)
TREE_LINE = re.compile(r"^( *)([\w./-]+)(?:  +\S.*)?$", re.MULTILINE)
TREE_ROOTS = ("src/sharpv", "training", "docs")


def broken_links(page: Path, text: str) -> list[str]:
    """Relative links whose target is missing."""
    return [f"{page}: no {link}" for link in LINK.findall(text) if not (page.parent / link).exists()]


def broken_snippets(page: Path, text: str) -> list[str]:
    """Python snippets that do not parse, or that use a public name or a field that does not exist."""
    found = []
    for snippet in SNIPPET.findall(text):
        try:
            tree = ast.parse(snippet)
        except SyntaxError as error:
            found.append(f"{page}: snippet does not parse: {error}")
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sharpv":
                known = node.attr in sharpv.__all__ or find_spec(f"sharpv.{node.attr}")
                found += [] if known else [f"{page}: there is no sharpv.{node.attr}"]
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("SharpVConfig"):
                names = {str(keyword.arg) for keyword in node.keywords}
                found += [
                    f"{page}: SharpVConfig has no {name}"
                    for name in sorted(names - set(SharpVConfig.__dataclass_fields__))
                ]
    return found


def broken_commands(page: Path, text: str) -> list[str]:
    """Commands in shell lines that the command line does not have."""
    found = []
    for command in sorted(set(SHELL.findall(text))):
        run = [sys.executable, "-m", "sharpv.cli", command, "--help"]
        if subprocess.run(run, capture_output=True).returncode:
            found.append(f"{page}: there is no command `sharpv {command}`")
    return found


def wrong_tree(text: str) -> list[str]:
    """Differences between the tree in the README and the files that are there."""
    block = text.split("## The tree", 1)[1].split("```text\n", 1)[1].split("```", 1)[0]
    listed, folders = set(), []
    for indent, name in TREE_LINE.findall(block):
        depth = len(indent) // 2
        folders = [*folders[:depth], name.rstrip("/")]
        if not name.endswith("/"):
            listed.add("/".join(folders))
    present = {
        path.as_posix()
        for root in TREE_ROOTS
        for path in Path(root).rglob("*")
        if path.suffix in {".py", ".md"} and path.name != "__init__.py"
    }
    inside = {name for name in listed if name.startswith(TREE_ROOTS)}
    return [f"README.md: the tree misses {name}" for name in sorted(present - inside)] + [
        f"README.md: the tree lists {name}, which does not exist"
        for name in sorted(name for name in listed if not Path(name).exists())
    ]


def main() -> int:
    """Prints what is wrong, one line each; returns the exit code."""
    found = []
    for page in PAGES:
        text = page.read_text()
        found += broken_links(page, text) + broken_snippets(page, text) + broken_commands(page, text)
    found += wrong_tree(Path("README.md").read_text())
    for line in found:
        sys.stderr.write(line + "\n")
    sys.stdout.write(f"docs: {len(PAGES)} pages, {len(found)} problems\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
