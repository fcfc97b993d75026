"""What `sharpv demo` does: a made clip, five questions about it, each answered dense and pruned."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sharpv.cli.demo import MAKER
from sharpv.config import SharpVConfig
from sharpv.hf.ask import Answer, VideoModel
from sharpv.hf.ask import ask as ask_model
from sharpv.shapesqa import Question, Sample, iterate, render_clip
from sharpv.shapesqa.files import FPS, write_clip
from sharpv.shapesqa.questions import is_right
from sharpv.video import Sampling, Video, read_video

__all__ = ["TOY_NOTE", "Demo", "Row", "choose", "run_demo"]

SCHEMA_VERSION = 1
TOY_NOTE = (
    "The model is a toy of a synthetic world: what it gets right or wrong, and what it saves, does not "
    "transfer to real models."
)

FRAMES, SIZE = 8, 256
SHORT_ANSWER, LONG_ANSWER = 8, 64
DENSE = SharpVConfig(retention=1.0, memory_threshold=None)
PRUNED = SharpVConfig()


@dataclass(frozen=True, slots=True)
class Row:
    """One question, and what the model answered from all tokens and from the kept ones."""

    question: Question
    dense: Answer
    pruned: Answer


@dataclass(frozen=True, slots=True)
class Demo:
    """Everything that the demo shows.

    Attributes:
        seed: of the clip.
        sample: the clip's truth.
        clip: the bytes of its mp4.
        video: its frames, as the model read them.
        model: the model's name.
        rows: the questions.
    """

    seed: int
    sample: Sample
    clip: bytes
    video: Video
    model: str
    rows: tuple[Row, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        return {
            "schema_version": SCHEMA_VERSION,
            "made_by": MAKER,
            "note": TOY_NOTE,
            "seed": self.seed,
            "model": self.model,
            "clip": {
                "name": self.sample.name,
                "fps": FPS,
                "size": SIZE,
                "truth": self.sample.scene.to_dict(),
            },
            "questions": [
                {
                    "family": row.question.family,
                    "question": row.question.text,
                    "truth": row.question.answer,
                    "dense": _answer(row.question, row.dense),
                    "pruned": _answer(row.question, row.pruned),
                }
                for row in self.rows
            ],
        }


def _answer(question: Question, answer: Answer) -> dict[str, Any]:
    return {
        "answer": answer.text,
        "right": is_right(question, answer.text),
        "report": answer.report.to_dict(),
    }


def run_demo(seed: int, load: Callable[[], VideoModel], log: Callable[[str], None]) -> Demo:
    """Makes a clip, and asks about it.

    Each question is answered dense and pruned in turn, once, after a warm-up that is not counted.

    Args:
        seed: of the clip.
        load: gives the model.
        log: told what is going on.

    Raises:
        SharpVError: the clip cannot be made, or the model not loaded.
    """
    log(f"making a clip (seed {seed}) ...")
    sample, chosen = choose(seed)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(sample, render_clip(sample.scene, SIZE), path)
        video, clip = read_video(path, Sampling(frames=FRAMES)), path.read_bytes()
    log("loading the toy model ...")
    loaded = load()
    for config in (DENSE, PRUNED):
        ask_model(loaded, video, chosen[0].text, config, SHORT_ANSWER)
    rows = []
    for number, question in enumerate(chosen, start=1):
        log(f"asking question {number} of {len(chosen)}, dense and pruned ...")
        length = SHORT_ANSWER if question.options else LONG_ANSWER
        dense, pruned = (
            ask_model(loaded, video, question.text, config, length) for config in (DENSE, PRUNED)
        )
        rows.append(Row(question, dense, pruned))
    return Demo(seed, sample, clip, video, loaded.name, tuple(rows))


def choose(seed: int) -> tuple[Sample, list[Question]]:
    """Returns a seed's first clip that shows movement and an event, and five questions about it.

    Many of the clips have a cut, and many have none, so that "Does the scene change?" has no answer to guess.
    """
    for sample in iterate("test", seed=seed, frames=FRAMES):
        asked = {question.family: question for question in reversed(sample.questions)}
        event = asked.get("vanish") or asked.get("order")
        # Movers are not counted where a cut moves every shape.
        if event and "direction" in asked and "move_count" in asked:
            families = ("direction", event.family, "move_count", "scene_change", "caption")
            return sample, [asked[family] for family in families]
    raise AssertionError("iterate() never ends")
