"""What happens in a ShapesQA clip: shapes that move, appear and vanish over a background that may change.

The world is a torus: what leaves on the right comes in on the left. So a shape's place in any one frame says
nothing about where it goes, and no question about motion can be answered from a single frame.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "FRAMES",
    "HELD_OUT",
    "KINDS",
    "QUADRANTS",
    "SCENE_TYPES",
    "SPLITS",
    "Scene",
    "Shape",
    "axis_gaps",
    "quadrant",
]

KINDS = ("circle", "square", "triangle", "cross", "ring")
COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 80, 235),
    "yellow": (240, 220, 40),
    "purple": (160, 50, 200),
    "cyan": (40, 210, 220),
    "orange": (245, 140, 30),
    "white": (245, 245, 245),
}
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
QUADRANTS = ("top-left", "top-right", "bottom-left", "bottom-right")
SCENE_TYPES = ("static", "slow", "fast", "cut", "pan")
FRAMES = (4, 32)
"""The fewest and the most frames of a clip."""

SPLITS = ("train", "validation", "test", "combinations")
HELD_OUT = frozenset(
    {("green", "circle"), ("purple", "square"), ("white", "triangle"), ("blue", "cross"), ("cyan", "ring")}
)
"""Pairs of colour and kind that only the split `combinations` shows."""

DISPLACEMENT = {"slow": (0.18, 0.32), "fast": (0.45, 0.68)}
SHAPES = (2, 5)
RADIUS = (0.085, 0.125)
SEPARATION = 0.15

Motion = Literal["static", "slow", "fast"]
Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape and its life.

    Attributes:
        colour: one of `COLOURS`; no two shapes of a scene share one, so it names the shape.
        kind: one of `KINDS`.
        radius: as a share of the frame's side.
        path: centres `[n, 2]` as (x, y), shares of the frame's side in [0, 1), y downwards.
        first: the first frame that shows it.
        last: the last frame that shows it.
        direction: where it moves, or None if it stays.
    """

    colour: str
    kind: str
    radius: float
    path: Points
    first: int
    last: int
    direction: str | None


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that a clip shows.

    Attributes:
        frames: n.
        motion: how far the movers go: "static" (none), "slow" (0.18 to 0.32 of the frame) or "fast" (0.45 to
            0.68), each within a window of its own.
        shapes: in drawing order.
        cut: the frame at which the scene changes, or None.
        cut_moves_shapes: whether the cut also puts every shape somewhere else.
        pan: how far the background drifts over the clip, as (x, y).
        noise: standard deviation of the sensor noise, of a full scale of 1.
        seed: of background and noise.
    """

    frames: int
    motion: Motion
    shapes: tuple[Shape, ...]
    cut: int | None
    cut_moves_shapes: bool
    pan: tuple[float, float]
    noise: float
    seed: int

    @property
    def type(self) -> str:
        """One of `SCENE_TYPES`: a cut or a pan comes before the motion of the shapes."""
        if self.cut is not None:
            return "cut"
        return "pan" if any(self.pan) else self.motion

    def to_dict(self) -> dict[str, Any]:
        """Returns the truth of every frame as plain values."""
        return {
            "type": self.type,
            "motion": self.motion,
            "frames": self.frames,
            "cut": self.cut,
            "cut_moves_shapes": self.cut_moves_shapes,
            "pan": list(self.pan),
            "noise": self.noise,
            "seed": self.seed,
            "shapes": [
                {
                    "colour": shape.colour,
                    "kind": shape.kind,
                    "radius": shape.radius,
                    "direction": shape.direction,
                    "visible": [shape.first, shape.last],
                    "path": shape.path.round(4).tolist(),
                }
                for shape in self.shapes
            ],
        }


def axis_gaps(here: Points, there: Points) -> Points:
    """Returns how far points are apart along each axis of the torus, 0 to 0.5; both `[..., 2]`, as (x, y)."""
    gaps = np.abs(here - there)
    return np.minimum(gaps, 1 - gaps)


def quadrant(point: Points) -> str:
    """Names the quarter of the frame that a point (x, y) lies in."""
    return QUADRANTS[2 * int(point[1] > 0.5) + int(point[0] > 0.5)]
