"""Has the media of a request loaded by a process of their own."""

import asyncio
import logging
import os
import signal
import sys
import tempfile
from typing import BinaryIO, cast

from PIL.Image import Image

from sharpv.server.media import Access, Medium
from sharpv.server.media_process import FULL, GONE, REFUSED, read_answer, write_task
from sharpv.server.refused import Refused
from sharpv.video import Sampling, Video

__all__ = ["load_media"]

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "sharpv.server.media_process")
# Each thread of a BLAS takes memory that its process is short of, and nothing here multiplies matrices.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# What Python and its libraries are found by. The rest of the environment may hold keys and tokens, which are
# nothing for a process that reads strangers' files.
KEPT = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TEMP", "TMP"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"),
)
# What damaged data may make a decoder die of.
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)
REASON_BYTES = TAIL_BYTES = 4096


async def load_media(media: list[Medium], sampling: Sampling, access: Access) -> list[Video | Image]:
    """Loads the media of a request, in their order; cancelling it ends the process.

    Raises:
        Refused: with 4xx, they are not to be had, cannot be decoded, or exceed a limit; with 5xx, the server
            could not load them, and its log says why.
    """
    if not media:
        return []
    try:
        with tempfile.TemporaryFile() as task, tempfile.TemporaryFile() as answer:
            await asyncio.to_thread(write_task, cast(BinaryIO, task), media, sampling, access)
            code, tail = await _run(cast(BinaryIO, task), cast(BinaryIO, answer))
            answer.seek(0)
            if code == 0:
                return await asyncio.to_thread(read_answer, cast(BinaryIO, answer))
            reason = answer.read(REASON_BYTES).decode(errors="replace")
    except OSError as error:
        logger.error("no room to load media: %s", error)
        raise _no_room() from None
    raise _refusal(code, reason, tail, access.limits.media_seconds)


def _refusal(code: int, reason: str, tail: str, seconds: float) -> Refused:
    """Returns what an exit code of the process means, and logs what is worth a look."""
    if code == -signal.SIGALRM:
        return Refused(408, f"the media took longer than {seconds} s to load (media_seconds)", "timeout")
    if code in (REFUSED, GONE):
        if tail:
            logger.warning("media were refused (%s):%s", reason, tail)
        status, name = (404, "file_not_found") if code == GONE else (400, "bad_media")
        return Refused(status, reason, name)
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    if -code in CRASHES:
        logger.warning("media made their decoder fail (%s):%s", cause, tail)
        return Refused(400, f"the media made their decoder fail ({cause}): send other files", "bad_media")
    logger.error("the process that loads media failed (%s):%s", cause, tail)
    if code == FULL:
        return _no_room()
    if code == -signal.SIGKILL:
        return Refused(
            503,
            f"the process that loads media was ended ({cause}), perhaps for want of memory: try again later",
            "no_room",
        )
    return Refused(500, f"the process that loads media failed ({cause}): the server's log says why")


def _no_room() -> Refused:
    return Refused(
        503, "the server has no room to load media (disk, memory or open files): try again later", "no_room"
    )


async def _run(task: BinaryIO, answer: BinaryIO) -> tuple[int, str]:
    """Returns the exit code of the process, and the end of what it said, ready for a log."""
    try:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, stdin=task, stdout=answer, stderr=asyncio.subprocess.PIPE, env=_environment()
        )
    except OSError as error:
        logger.error("the process that loads media cannot be started: %s", error)
        raise Refused(
            503, "the process that loads media cannot be started: try again later", "no_room"
        ) from None
    try:
        tail = await _tail(cast(asyncio.StreamReader, process.stderr))
        return await process.wait(), tail
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ} | ENVIRONMENT


async def _tail(stream: asyncio.StreamReader) -> str:
    tail = b""
    while chunk := await stream.read(TAIL_BYTES):
        tail = (tail + chunk)[-TAIL_BYTES:]
    # Indented, so that no line of a stranger's making looks like one of the log's own.
    lines = tail.decode(errors="replace").rstrip().split("\n") if tail else []
    return "".join(f"\n    {''.join(filter(str.isprintable, line))}" for line in lines)
