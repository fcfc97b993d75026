"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["same_file", "whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives a path beside a file to write to, which takes the file's place when the block ends.

    When the block fails, what it wrote is removed, and a file that was there before is still there. What is
    no regular file, such as a pipe, is written to as it is.

    Args:
        path: of the file; a link is followed.

    Raises:
        OSError: nothing can be written there.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        yield target
        return
    part = target.with_name(f".{os.getpid()}.{target.name}")
    part.open("xb").close()
    try:
        yield part
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def same_file(one: object, other: object) -> bool:
    """Whether both are paths of one file that is there."""
    paths = [path for path in (one, other) if isinstance(path, str | os.PathLike)]
    return len(paths) == 2 and all(map(os.path.exists, paths)) and os.path.samefile(*paths)
