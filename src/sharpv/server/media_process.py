"""The process that loads the media of one request: strangers' files are decoded where no harm is done.

A decoder that crashes, takes all memory or never ends then takes this process with it, and not the server.
"""

import json
import resource
import signal
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from sharpv.errors import SharpVError
from sharpv.server.limits import Limits
from sharpv.server.media import Access, Gone, Medium, load
from sharpv.video import Sampling, Video

__all__ = ["GONE", "REFUSED", "read_answer", "write_task"]

REFUSED, GONE = 3, 4
"""The exit codes that say: what was written is the reason; GONE is of an uploaded file."""

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
    """Has the system end this process where it takes too much, even when the server is gone."""
    signal.setitimer(signal.ITIMER_REAL, limits.media_seconds)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (limits.media_memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Loads what stdin names, and writes it to stdout."""
    task = json.load(sys.stdin.buffer)
    access = Access(**task["access"] | {"limits": Limits(**task["access"]["limits"])})
    _limit(access.limits)
    try:
        loaded = load([Medium(**medium) for medium in task["media"]], Sampling(**task["sampling"]), access)
        _write_answer(sys.stdout.buffer, loaded)
    except SharpVError as error:
        reason, code = str(error), GONE if isinstance(error, Gone) else REFUSED
    except Exception as error:  # whatever a file makes a decoder do; its words may tell a path
        reason, code = f"cannot decode the media ({type(error).__name__})", REFUSED
    else:
        return 0
    sys.stdout.buffer.write(reason.encode(errors="replace"))
    return code


if __name__ == "__main__":
    sys.exit(main())
