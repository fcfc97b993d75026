"""ShapesQA on disk: a folder with one mp4 for each clip and one line of JSON for each question."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from sharpv.errors import InputError
from sharpv.shapesqa.dataset import Sample, iterate
from sharpv.shapesqa.questions import FAMILIES
from sharpv.shapesqa.render import render
from sharpv.shapesqa.scene import SCENE_TYPES, SPLITS
from sharpv.video.write import write_video

__all__ = ["FPS", "MARK", "QUESTIONS", "Record", "load", "write", "write_clip"]

MARK = "ShapesQA"
"""What the comment of every clip begins with."""

QUESTIONS = "questions.jsonl"
FPS = 4.0
# The default of 23 costs a fifth more error; below 18 nothing is left to gain but the halved chroma's.
CRF = 18
UNFINISHED = QUESTIONS + ".unfinished"
VIDEOS = "videos"
# Drawing a few small clips at once is faster, many large ones slower: they leave the processor's cache.
PIXELS_AT_ONCE = 1 << 17


@dataclass(frozen=True, slots=True)
class Record:
    """One question about one clip of a dataset: a line of `questions.jsonl`.

    Attributes:
        id: unique within the dataset.
        video: the clip.
        question: as a user would ask it.
        options: what may be answered; empty for a caption.
        answer: one of `options`; of a caption, the whole text.
        family: one of `FAMILIES`.
        scene: one of `SCENE_TYPES`.
        frames: of the clip.
        size: side of the drawn frames in pixels; the mp4 repeats the last row and column of an odd one.
        split: one of `SPLITS`.
        seed: of the dataset.
        noise: standard deviation of the sensor noise, of a full scale of 1.
        truth: `Scene.to_dict()`: where each shape is in every frame, and from when to when it is visible.
    """

    id: str
    video: Path
    question: str
    options: tuple[str, ...]
    answer: str
    family: str
    scene: str
    frames: int
    size: int
    split: str
    seed: int
    noise: float
    truth: dict[str, Any]


def write(
    folder: str | os.PathLike[str],
    clips: int,
    *,
    split: str = "test",
    seed: int = 0,
    size: int = 64,
    frames: int = 8,
    scene_type: str | None = None,
    log: Callable[[int], None] = lambda done: None,
) -> list[Record]:
    """Makes a dataset. Its list of questions appears last, so that a part is never taken for the whole.

    Args:
        folder: where to; made where it is missing. It must be empty, and is left as it was on a failure.
        clips: how many, at least 1; the first of the split and seed.
        split: one of `SPLITS`.
        seed: less than 2^32; another seed, another dataset of the same split.
        size: side of a frame in pixels, at least 16.
        frames: of each clip, 4 to 32.
        scene_type: one of `SCENE_TYPES`; None mixes them.
        log: takes the number of clips done, after each few.

    Returns:
        What `load` gives.

    Raises:
        ValueError: an argument out of its range; nothing has been written.
        InputError: the folder holds something, or cannot be written.
        VideoError: a clip cannot be written.
    """
    if clips < 1 or size < 16:
        raise ValueError(f"{clips} clips of {size} pixels: must be at least 1 clip, of at least 16 pixels")
    samples = iterate(split, seed=seed, frames=frames, scene_type=scene_type)
    # The first sample checks the settings, before the folder is touched.
    samples = islice(chain([next(samples)], samples), clips)
    at_once = max(1, PIXELS_AT_ONCE // (frames * size**2))
    with _fresh(Path(folder)) as (place, lines):
        done = 0
        while some := list(islice(samples, at_once)):
            drawn = render([sample.scene for sample in some], size).frames.permute(0, 1, 3, 4, 2)
            for sample, pictures in zip(some, drawn.contiguous().numpy(), strict=True):
                video = f"{VIDEOS}/{sample.name}.mp4"
                write_clip(sample, pictures, place / video)
                for line in _lines(sample, video, {"size": size, "split": split, "seed": seed}):
                    lines.write(json.dumps(line, allow_nan=False) + "\n")
            done += len(some)
            log(done)
    return load(folder)


def write_clip(sample: Sample, pictures: NDArray[np.uint8], path: str | os.PathLike[str]) -> None:
    """Writes one clip, marked as one of ShapesQA: `read_video(path).comment` begins with `MARK`.

    Args:
        sample: what the clip shows.
        pictures: RGB, uint8 `[n, size, size, 3]`, from `render_clip`.
        path: where to; an existing file is replaced.

    Raises:
        VideoError: the file cannot be written.
    """
    write_video(pictures, path, fps=FPS, crf=CRF, comment=f"{MARK} {sample.name}")


def load(folder: str | os.PathLike[str]) -> list[Record]:
    """Reads the questions of a dataset, and looks whether each clip is there.

    Raises:
        InputError: no dataset, an unfinished one, a line that is damaged, or a clip that is missing.
    """
    place = Path(folder)
    try:
        lines = (place / QUESTIONS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        unfinished = "; it was cut off while it was made" if (place / UNFINISHED).exists() else ""
        raise InputError(
            f"cannot read {str(place / QUESTIONS)!r}: {reason}{unfinished}; "
            "make a dataset with 'sharpv shapesqa make -o DIR'"
        ) from None
    records: dict[str, Record] = {}
    clips: set[Path] = set()
    for number, line in enumerate(lines, start=1):
        try:
            record = _record(place, line)
            if record.id in records:
                raise ValueError(f"id {record.id!r} was there before")
            if record.video not in clips and not (record.video.is_file() and record.video.stat().st_size):
                raise ValueError(f"its clip {str(record.video)!r} is missing or empty")
        except ValueError as error:
            raise InputError(
                f"{str(place / QUESTIONS)!r}, line {number}: {error}; copy the dataset again, or make it anew"
            ) from None
        clips.add(record.video)
        records[record.id] = record
    if not records:
        raise InputError(f"{str(place / QUESTIONS)!r} holds no question; make the dataset anew")
    return list(records.values())


@contextmanager
def _fresh(folder: Path) -> Iterator[tuple[Path, TextIO]]:
    """Opens an empty folder for writing; on any failure takes back what was written to it."""
    made = [part for part in (folder, *folder.parents) if not part.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InputError(f"folder {str(folder)!r} is not empty; name a new one, or empty it first")
        (folder / VIDEOS).mkdir()
        lines = (folder / UNFINISHED).open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {str(folder)!r}: {error.strerror}; check the path") from None
    try:
        with lines:
            yield folder, lines
        (folder / UNFINISHED).rename(folder / QUESTIONS)
    except BaseException as error:
        for path in (folder / VIDEOS).iterdir():
            path.unlink()
        (folder / VIDEOS).rmdir()
        (folder / UNFINISHED).unlink(missing_ok=True)
        for part in made:
            part.rmdir()
        if isinstance(error, OSError):
            raise InputError(f"cannot write to {str(folder)!r}: {error.strerror}; check the disk") from None
        raise


def _lines(sample: Sample, video: str, settings: dict[str, Any]) -> Iterable[dict[str, Any]]:
    truth = sample.scene.to_dict()
    for number, question in enumerate(sample.questions):
        yield {
            "id": f"{sample.name}-{number:02d}",
            "video": video,
            "question": question.text,
            "options": list(question.options),
            "answer": question.answer,
            "family": question.family,
            "scene": sample.scene.type,
            "frames": sample.scene.frames,
            **settings,
            "noise": sample.scene.noise,
            "truth": truth,
        }


KINDS_OF_VALUES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "video", "question", "answer", "family", "scene", "split"), (str,)),
    **dict.fromkeys(("frames", "size", "seed"), (int,)),
    "options": (list,),
    "noise": (int, float),
    "truth": (dict,),
}


def _record(place: Path, line: str) -> Record:
    """Reads one line.

    Raises:
        ValueError: says what is wrong with it.
    """
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError("no JSON object")
    for name, kinds in KINDS_OF_VALUES.items():
        if not isinstance(values.get(name), kinds):
            raise ValueError(f"{name!r} is {values.get(name)!r}; must be {kinds[-1].__name__}")
    for name, known in (("family", tuple(FAMILIES)), ("scene", SCENE_TYPES), ("split", SPLITS)):
        if values[name] not in known:
            raise ValueError(f"{name} {values[name]!r}: must be one of {', '.join(known)}")
    options = tuple(values["options"])
    if options and values["answer"] not in options:
        raise ValueError(f"answer {values['answer']!r}: must be one of {', '.join(map(str, options))}")
    video = Path(values["video"])
    if video.is_absolute() or ".." in video.parts:
        raise ValueError(f"video {values['video']!r} is not inside the dataset's folder")
    fields = {name: values[name] for name in KINDS_OF_VALUES}
    return Record(**fields | {"video": place / video, "options": options})
