"""The clips of a run: checked before any work, and told apart by their bytes."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sharpv.errors import InputError, VideoError
from sharpv.video import Sampling, read_video

__all__ = ["Clip", "check_clips"]


@dataclass(frozen=True, slots=True)
class Clip:
    """A file that can be read whole.

    Attributes:
        path: where it is.
        name: of the file, by which records know the clip.
        digest: the first 16 hexadecimal digits of the SHA-256 of its bytes.
    """

    path: Path
    name: str
    digest: str


def check_clips(paths: Sequence[Path], frames: int) -> tuple[Clip, ...]:
    """Reads the sampled frames of every clip once, and keeps none: those of many would not fit in memory.

    Args:
        paths: of the clips, at least one.
        frames: of each to read; a shorter clip gives all it has.

    Raises:
        InputError: no clip, or two of the same file name.
        VideoError: a clip that cannot be read, or that is damaged or cut short.
    """
    if not paths:
        raise InputError("got no clips: name at least one video file")
    twice = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
    if twice:
        raise InputError(
            f"got several clips called {', '.join(twice)}: records name a clip by its file, so give each "
            "once, under a name of its own"
        )
    return tuple(_check(path, Sampling(frames=frames)) for path in paths)


def _check(path: Path, sampling: Sampling) -> Clip:
    warnings = read_video(path, sampling).warnings
    if warnings:
        raise VideoError(f"{'; '.join(warnings)}: give a whole clip, or leave this one out")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Clip(path, path.name, digest[:16])
