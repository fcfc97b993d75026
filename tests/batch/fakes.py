"""A model that costs nothing, a job with it, and rows to answer."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from sharpv.batch.job import Summary, run
from sharpv.batch.line import Line
from sharpv.batch.manifest import Row
from sharpv.batch.processes import Processes
from sharpv.batch.work import Unavailable
from sharpv.errors import InputError, VideoError

SETTINGS = {"model": "fake"}


@dataclass(frozen=True)
class Fake:
    """Answers with the question in capitals; what a clip is called says what becomes of it.

    Attributes:
        seconds: that reading takes, and an answer.
        folder: where each worker leaves a file named by its process, and each death a mark.
        broken: what happens when it is opened, "refuses", "dies" or "no memory"; behind "second " only in
            worker 1, behind "first time " only once. "unsure" is not to say whether it is lost.
    """

    seconds: float = 0.0
    folder: str | None = None
    broken: str = ""

    def open(self, worker: int, workers: int) -> "FakeModel":
        broken = self._broken(worker)
        if broken == "refuses":
            raise InputError("no such model: take another")
        if broken == "no memory":
            raise MemoryError("not enough")
        if broken == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.folder is not None:
            (Path(self.folder) / f"{os.getpid()}.pid").touch()
        return FakeModel(self)

    def first_time(self) -> bool:
        """Whether no worker has asked this before."""
        mark = Path(str(self.folder)) / "mark"
        new = not mark.exists()
        mark.touch()
        return new

    def _broken(self, worker: int) -> str:
        if self.broken.startswith("second "):
            return self.broken.removeprefix("second ") if worker == 1 else ""
        if self.broken.startswith("first time "):
            return self.broken.removeprefix("first time ") if self.first_time() else ""
        return self.broken


class FakeModel:
    def __init__(self, fake: Fake) -> None:
        self._fake, self._lost = fake, False

    def read(self, source: str) -> tuple[str, tuple[float, float]]:
        name = Path(source).stem
        if name == "bad":
            raise VideoError(f"cannot read {source!r}: it is bad")
        if name == "hang":
            Event().wait()
        if name == "fatal" or (name == "once" and self._fake.first_time()):
            os.kill(os.getpid(), signal.SIGKILL)
        start = time.monotonic()
        time.sleep(self._fake.seconds)
        return name, (start, time.monotonic())

    def ask(self, clip: tuple[str, tuple[float, float]], row: Row) -> Line:
        name, read = clip
        start = time.monotonic()
        time.sleep(self._fake.seconds)
        if name == "away":
            raise Unavailable("the server is away")
        self._lost = name == "lost" and self._fake.first_time()
        if name == "odd" or self._lost:
            raise RuntimeError("an odd thing")
        return Line(
            id=row.id,
            video=row.video,
            question=row.question,
            answer=row.question.upper(),
            milliseconds={"decode": 1.0},
            notes=(json.dumps({"read": read, "ask": (start, time.monotonic())}),),
        )

    def lost(self) -> bool:
        if self._fake.broken == "unsure":
            raise ValueError("no idea")
        return self._lost


def write_rows(path: Path, count: int, **videos: str) -> Path:
    """Writes a manifest of JSON lines; `r3="bad"` gives the row of that id another clip than its own."""
    names = [f"r{number}" for number in range(count)]
    rows = [
        {"id": name, "video": f"{videos.get(name, 'clip')}.mp4", "question": f"what {name}"} for name in names
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def job(manifest: Path, out: Path, fake: Fake = Fake(), workers: int = 1, **options) -> Summary:
    return run(manifest, out, SETTINGS, lambda: Processes(fake, workers), **options)


def lines(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def by_id(out: Path) -> dict[str, dict]:
    """Lines by id, each once, without what differs from run to run."""
    found = lines(out)
    kept = {
        line["id"]: {k: v for k, v in line.items() if k not in ("milliseconds", "notes")} for line in found
    }
    assert len(kept) == len(found)
    return kept


if __name__ == "__main__":

    def say(text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    job(Path(sys.argv[1]), Path(sys.argv[2]), Fake(seconds=0.01), workers=2, ordered=True, log=say)
