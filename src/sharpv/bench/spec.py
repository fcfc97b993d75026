"""What an accuracy run asks: which questions about which clips, under which conditions."""

from dataclasses import dataclass, fields
from typing import Any, Literal

from sharpv.bench.conditions import Condition, choose_conditions, require_order
from sharpv.shapesqa import FAMILIES, SCENE_TYPES, SPLITS
from sharpv.shapesqa.scene import FRAMES

__all__ = ["AccuracySpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySpec:
    """What is asked, and how.

    Attributes:
        conditions: from `choose_conditions`.
        split: of ShapesQA.
        seed: of the dataset, less than 2^32.
        frames: of each clip, 4 to 32.
        size: side of a frame in pixels, at least 16.
        per_family: questions of each family.
        control_per_family: questions of each family for the controls, the first of the others' questions; at
            most `per_family`.
        families: some of `sharpv.shapesqa.FAMILIES`.
        scene_types: some of `sharpv.shapesqa.SCENE_TYPES`, in their usual mix.
        source: "arrays" shows the drawn frames, "mp4" writes a file and reads it back.
        scoring: "options" takes the likeliest of a question's options, "generate" decodes free text, as it
            always is for captions.
        rows: the most questions of a batch.
        max_new_tokens: the most tokens of a free answer.

    Raises:
        ValueError: a value outside its range.
    """

    conditions: tuple[Condition, ...] = choose_conditions()
    split: str = "test"
    seed: int = 0
    frames: int = 8
    size: int = 64
    per_family: int = 200
    control_per_family: int = 100
    families: tuple[str, ...] = tuple(FAMILIES)
    scene_types: tuple[str, ...] = SCENE_TYPES
    source: Literal["arrays", "mp4"] = "arrays"
    scoring: Literal["options", "generate"] = "options"
    rows: int = 8
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        for name, accepted in {
            "split": SPLITS,
            "families": tuple(FAMILIES),
            "scene_types": SCENE_TYPES,
            "source": ("arrays", "mp4"),
            "scoring": ("options", "generate"),
        }.items():
            given = getattr(self, name)
            values = (given,) if isinstance(given, str) else given
            if not values or set(values) - set(accepted):
                raise ValueError(f"{name} is {given!r}: accepted are {', '.join(accepted)}")
        for name, low, high in (
            ("seed", 0, 2**32 - 1),
            ("frames", *FRAMES),
            ("size", 16, None),
            ("per_family", 1, None),
            ("control_per_family", 1, self.per_family),
            ("rows", 1, None),
            ("max_new_tokens", 1, None),
        ):
            given = getattr(self, name)
            if type(given) is not int or given < low or (high is not None and given > high):
                bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
                raise ValueError(f"{name} is {given!r}: it must be a whole number {bounds}")
        require_order(self.conditions)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "conditions": [condition.to_dict() for condition in self.conditions],
            "families": list(self.families),
            "scene_types": list(self.scene_types),
        }
