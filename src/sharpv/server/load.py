"""Has the media of a request loaded by a process of their own."""

import asyncio
import os
import signal
import sys
import tempfile
from typing import BinaryIO, cast

from PIL.Image import Image

from sharpv.server.media import Access, Medium
from sharpv.server.media_process import GONE, REFUSED, read_answer, write_task
from sharpv.server.refused import Refused
from sharpv.video import Sampling, Video

__all__ = ["load_media"]

COMMAND = (sys.executable, "-P", "-m", "sharpv.server.media_process")
# Each thread of a BLAS takes memory that its process is short of, and nothing here multiplies matrices.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


async def load_media(media: list[Medium], sampling: Sampling, access: Access) -> list[Video | Image]:
    """Loads the media of a request, in their order; cancelling it ends the process.

    Raises:
        Refused: they are not to be had, cannot be decoded, or exceed a limit.
    """
    if not media:
        return []
    with tempfile.TemporaryFile() as task, tempfile.TemporaryFile() as answer:
        await asyncio.to_thread(write_task, cast(BinaryIO, task), media, sampling, access)
        code = await _run(cast(BinaryIO, task), cast(BinaryIO, answer))
        answer.seek(0)
        if code == 0:
            return await asyncio.to_thread(read_answer, cast(BinaryIO, answer))
        if code in (REFUSED, GONE):
            status, name = (404, "file_not_found") if code == GONE else (400, "bad_media")
            raise Refused(status, answer.read().decode(errors="replace"), name)
    if code == -signal.SIGALRM:
        seconds = access.limits.media_seconds
        raise Refused(408, f"the media took longer than {seconds} s to load (media_seconds)", "timeout")
    raise Refused(400, f"the media made their decoder fail (exit code {code}): send other files", "bad_media")


async def _run(task: BinaryIO, answer: BinaryIO) -> int:
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        stdin=task,
        stdout=answer,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
