"""Clips with their questions, in order: the same split, seed and settings give the same ones, on any machine.

NumPy does not promise that a later version of it draws the same from a seed; tests pin what it draws here. Of
the pixels, the sensor noise is torch's, and differs between kinds of device.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sharpv.shapesqa.draw import sample_scene, scene_rng
from sharpv.shapesqa.questions import FAMILIES, Question, questions
from sharpv.shapesqa.scene import Scene

__all__ = ["Sample", "iterate", "take"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One clip and what is asked about it.

    Attributes:
        name: of the clip, unique within the dataset.
        scene: what happens; `render_clip(scene, size)` draws it.
        questions: that it answers.
    """

    name: str
    scene: Scene
    questions: tuple[Question, ...]


def iterate(
    split: str = "test", *, seed: int = 0, frames: int = 8, scene_type: str | None = None
) -> Iterator[Sample]:
    """Yields the clips of a split without end.

    Args:
        split: one of `SPLITS`.
        seed: less than 2^32; another seed, another dataset of the same split.
        frames: of each clip, 4 to 32.
        scene_type: one of `SCENE_TYPES`; None mixes them.

    Raises:
        ValueError: an argument out of its range.
    """
    index = 0
    while True:
        rng = scene_rng(split, seed, index)
        scene = sample_scene(rng, frames, split=split, scene_type=scene_type)
        yield Sample(f"{split}-{seed}-{index:06d}", scene, tuple(questions(scene, rng)))
        index += 1


def take(
    samples: Iterator[Sample], per_family: int, families: tuple[str, ...] = tuple(FAMILIES)
) -> list[Sample]:
    """Takes clips until each family has its number of questions; questions beyond it are left out.

    Args:
        samples: from `iterate`; no more than needed are taken.
        per_family: questions of each family.
        families: some of `FAMILIES`.

    Raises:
        ValueError: an unknown family, no question asked for, or samples that end before there are enough.
    """
    unknown = set(families) - set(FAMILIES)
    if unknown or not families or per_family < 1:
        raise ValueError(
            f"{per_family} questions of {', '.join(families) or 'no family'}: must be at least 1, "
            f"of {', '.join(FAMILIES)}"
        )
    missing = dict.fromkeys(families, per_family)
    taken = []
    for sample in samples:
        chosen = []
        for question in sample.questions:
            if missing.get(question.family, 0):
                missing[question.family] -= 1
                chosen.append(question)
        if chosen:
            taken.append(Sample(sample.name, sample.scene, tuple(chosen)))
        if not any(missing.values()):
            return taken
    found = ", ".join(f"{per_family - few} of {family}" for family, few in missing.items() if few)
    raise ValueError(f"the samples hold {found}, not {per_family} of each: give more samples")
