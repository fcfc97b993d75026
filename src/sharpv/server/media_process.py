"""The process that loads the media of one request: strangers' files are decoded where no harm is done.

A decoder that crashes, takes all memory or never ends then takes this process with it, and not the server.
"""

import errno
import json
import os
import resource
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from PIL import Image

from sharpv.errors import SharpVError
from sharpv.server.fetch import Unsaved
from sharpv.server.limits import Limits
from sharpv.server.media import Access, Gone, Medium, load
from sharpv.video import Sampling, Video

__all__ = ["FULL", "GONE", "REFUSED", "read_answer", "write_task"]

REFUSED, GONE, FULL = 3, 4, 5
"""Exit codes. After REFUSED, and GONE of an uploaded file, what was written is the reason; FULL is that the
machine has no room. Any other is a failure of this process, and what it said on stderr is for the log."""

FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EAGAIN)

ARRAYS = ("frames", "timestamps", "indices")


def write_task(file: BinaryIO, media: list[Medium], sampling: Sampling, access: Access) -> None:
    """Writes what the process reads from its stdin."""
    task = {
        "media": [asdict(medium) for medium in media],
        "sampling": asdict(sampling),
        "access": asdict(access),
    }
    file.write(json.dumps(task).encode())
    file.seek(0)


def read_answer(file: BinaryIO) -> list[Video | Image.Image]:
    """Reads what the process has written to its stdout."""
    loaded: list[Video | Image.Image] = []
    for facts in json.loads(file.readline()):
        if facts is None:
            loaded.append(Image.fromarray(np.load(file, allow_pickle=False)))
            continue
        arrays = {name: np.load(file, allow_pickle=False) for name in ARRAYS}
        loaded.append(Video(**arrays, **facts | {"warnings": tuple(facts["warnings"])}))
    return loaded


def _write_answer(file: BinaryIO, loaded: list[Video | Image.Image]) -> None:
    facts = [_facts(medium) if isinstance(medium, Video) else None for medium in loaded]
    file.write(json.dumps(facts).encode() + b"\n")
    for medium in loaded:
        if isinstance(medium, Video):
            for name in ARRAYS:
                np.save(file, getattr(medium, name))
        else:
            np.save(file, np.asarray(medium))
    file.flush()


def _facts(video: Video) -> dict[str, Any]:
    names = ("total_frames", "fps", "duration", "warnings", "comment")
    return {name: getattr(video, name) for name in names}


def _limit(limits: Limits) -> None:
    """Has the system end this process where it takes too much, even when the server is gone.

    Raises:
        RuntimeError: it takes more memory than it may before it has begun.
    """
    signal.setitimer(signal.ITIMER_REAL, limits.media_seconds)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":  # others know no limit of memory that holds
        return
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if taken > limits.media_memory_bytes:
        raise RuntimeError(
            f"this process takes {taken} bytes before it has begun: raise the limit media_memory_bytes, "
            f"which is {limits.media_memory_bytes}"
        )
    resource.setrlimit(resource.RLIMIT_AS, (limits.media_memory_bytes,) * 2)


def main() -> int:
    """Loads what stdin names, and writes it to stdout."""
    task = json.load(sys.stdin.buffer)
    access = Access(**task["access"] | {"limits": Limits(**task["access"]["limits"])})
    _limit(access.limits)
    media, sampling = [Medium(**medium) for medium in task["media"]], Sampling(**task["sampling"])
    try:
        loaded = load(media, sampling, access)
    except SharpVError as error:
        return _refuse(str(error), GONE if isinstance(error, Gone) else REFUSED)
    except MemoryError:
        return _no_memory(access.limits)
    except Exception as error:
        return _failed(error)
    try:
        _write_answer(sys.stdout.buffer, loaded)
        sys.stdout.flush()
    except OSError:  # numpy's own has no number
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(FULL)  # the usual end would write once more, and fail with another code
    return 0


def _refuse(reason: str, code: int = REFUSED) -> int:
    sys.stdout.buffer.write(reason.encode(errors="replace"))
    return code


def _no_memory(limits: Limits) -> int:
    if sys.platform != "linux":
        traceback.print_exc()
        return FULL
    most = limits.media_memory_bytes
    return _refuse(f"the media take more than {most} bytes of memory to decode (media_memory_bytes)")


def _failed(error: Exception) -> int:
    """Tells failures of the machine, and of this program's parts, from what a file does to a decoder."""
    number = None if isinstance(error, av.FFmpegError) else getattr(error, "errno", None)
    if isinstance(error, Unsaved) or number in FULL_ERRORS:
        traceback.print_exc()
        return FULL
    if isinstance(error, ImportError) or number is not None:
        raise error
    traceback.print_exc()
    return _refuse(f"cannot decode the media ({type(error).__name__})")  # its words may tell a path


if __name__ == "__main__":
    sys.exit(main())
