"""Drawing scenes: how often what happens, and where there is room for it."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sharpv.shapesqa.scene import (
    COLOURS,
    DIRECTIONS,
    DISPLACEMENT,
    FRAMES,
    HELD_OUT,
    KINDS,
    RADIUS,
    SCENE_TYPES,
    SEPARATION,
    SHAPES,
    SPLITS,
    Points,
    Scene,
    Shape,
    axis_gaps,
)

__all__ = ["sample_scene", "scene_rng"]

TYPE_SHARES = (0.14, 0.14, 0.14, 0.5, 0.08)
MOTION_SHARES = {"static": 0.22, "slow": 0.39, "fast": 0.39}
MOVED_SHARE = 0.4
EVENT_SHARE = 0.45
NOISE = (0.005, 0.03)
PAN = (0.15, 0.4)


def scene_rng(split: str, seed: int, index: int) -> np.random.Generator:
    """Returns the generator of one clip: no two of (split, seed, index) share a stream.

    Raises:
        ValueError: no such split, or a number that is negative or 2^32 and more.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    if not (0 <= seed < 1 << 32 and 0 <= index < 1 << 32):
        raise ValueError(f"seed {seed}, index {index}: must not be negative, and less than 2^32")
    return np.random.default_rng((SPLITS.index(split), seed, index))


def sample_scene(
    rng: np.random.Generator,
    frames: int = 8,
    *,
    split: str = "train",
    scene_type: str | None = None,
    noisy: bool | None = None,
) -> Scene:
    """Draws a scene.

    Args:
        rng: from `scene_rng`, or any other.
        frames: n, 4 to 32.
        split: "combinations" shows at least one pair of `HELD_OUT`, the other splits show none.
        scene_type: one of `SCENE_TYPES`; None draws it, half of all scenes with a cut.
        noisy: whether there is sensor noise; None draws it.

    Raises:
        ValueError: an argument out of its range.
    """
    _check(frames, split, scene_type)
    while True:
        scene = _try_scene(rng, frames, split == "combinations", scene_type, noisy)
        if scene is not None:
            return scene


def _check(frames: int, split: str, scene_type: str | None) -> None:
    low, high = FRAMES
    if not low <= frames <= high:
        raise ValueError(f"frames {frames}: must be {low} to {high}")
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    if scene_type is not None and scene_type not in SCENE_TYPES:
        raise ValueError(f"scene_type {scene_type!r}: must be one of {', '.join(SCENE_TYPES)}")


def _try_scene(
    rng: np.random.Generator, frames: int, held_out: bool, scene_type: str | None, noisy: bool | None
) -> Scene | None:
    """Returns a scene, or None where the shapes found no room."""
    kind = scene_type or SCENE_TYPES[rng.choice(len(SCENE_TYPES), p=TYPE_SHARES)]
    motion: Any = kind
    if kind in ("cut", "pan"):
        motion = tuple(MOTION_SHARES)[rng.choice(len(MOTION_SHARES), p=tuple(MOTION_SHARES.values()))]
    cut = int(rng.integers(1, frames)) if kind == "cut" else None
    moves_shapes = cut is not None and rng.random() < MOVED_SHARE
    count = int(rng.integers(SHAPES[0], SHAPES[1] + 1))
    movers = 0 if motion == "static" else int(rng.integers(1, min(3, count) + 1))
    paths = _paths(rng, frames, motion, count, movers, cut if moves_shapes else None)
    if paths is None:
        return None
    spans = _spans(rng, frames, count, movers)
    shapes = []
    for (colour, name), (path, direction), (first, last) in zip(
        _looks(rng, count, held_out), paths, spans, strict=True
    ):
        shapes.append(Shape(colour, name, float(rng.uniform(*RADIUS)), path, first, last, direction))
    angle = rng.uniform(0, 2 * math.pi)
    reach = rng.uniform(*PAN) if kind == "pan" else 0.0
    noise = rng.uniform(*NOISE) if (rng.random() < 0.6 if noisy is None else noisy) else 0.0
    return Scene(
        frames=frames,
        motion=motion,
        shapes=tuple(shapes[i] for i in rng.permutation(count)),
        cut=cut,
        cut_moves_shapes=bool(moves_shapes),
        pan=(float(reach * math.cos(angle)), float(reach * math.sin(angle))),
        noise=float(noise),
        seed=int(rng.integers(1 << 31)),
    )


def _looks(rng: np.random.Generator, count: int, held_out: bool) -> Sequence[tuple[str, str]]:
    """Draws a colour and a kind for each shape, without the held-out pairs or with at least one."""
    colours = list(COLOURS)
    while True:
        drawn = [colours[i] for i in rng.permutation(len(colours))[:count]]
        looks = [(colour, KINDS[rng.integers(len(KINDS))]) for colour in drawn]
        rare = [look in HELD_OUT for look in looks]
        if any(rare) == held_out:
            return looks


def _spans(rng: np.random.Generator, frames: int, count: int, movers: int) -> list[tuple[int, int]]:
    """Draws the first and last frame of each shape.

    Two that stay may come and go one after the other, or one may vanish and another appear. Either is as
    likely backwards in time, where its answer is the other shape: frames without their order do not tell.
    """
    spans = [(0, frames - 1)] * count
    if count - movers < 2:
        return spans
    one, other = rng.permutation(np.arange(movers, count))[:2]
    event = rng.random()
    if event < EVENT_SHARE:
        spans[one], spans[other] = _staggered(rng, frames)
    elif event < 2 * EVENT_SHARE:
        spans[one] = (0, int(rng.integers(1, frames)) - 1)
        spans[other] = (int(rng.integers(1, frames)), frames - 1)
    return spans


def _staggered(rng: np.random.Generator, frames: int) -> list[tuple[int, int]]:
    """Draws two spans within the clip; the second both starts and ends after the first."""
    inner = np.arange(1, frames - 1)
    while True:
        starts, ends = (np.sort(rng.choice(inner, 2, replace=False)).tolist() for _ in range(2))
        if starts[0] <= ends[0] and starts[1] <= ends[1]:
            return list(zip(starts, ends, strict=True))


def _paths(
    rng: np.random.Generator, frames: int, motion: str, count: int, movers: int, jump: int | None
) -> list[tuple[Points, str | None]] | None:
    """Draws a path for each shape, movers first, apart from each other; None: no room."""
    placed: list[tuple[Points, str | None]] = []
    for shape in range(count):
        for _ in range(30):
            path, direction = _path(rng, frames, motion if shape < movers else "static", jump)
            if all(_apart(path, other) for other, _ in placed):
                placed.append((path, direction))
                break
        else:
            return None
    return placed


def _path(rng: np.random.Generator, frames: int, motion: str, jump: int | None) -> tuple[Points, str | None]:
    """Draws one path: a start anywhere, one straight move within a window, and a jump at a cut."""
    start = rng.random((2, 2))
    base = np.where((np.arange(frames) < (frames if jump is None else jump))[:, None], start[0], start[1])
    if motion == "static":
        return base, None
    direction = tuple(DIRECTIONS)[rng.integers(len(DIRECTIONS))]
    steps = int(rng.integers(max(2, math.ceil(0.4 * (frames - 1))), frames))
    begin = int(rng.integers(0, frames - steps))
    progress = np.clip((np.arange(frames) - begin) / steps, 0, 1) * rng.uniform(*DISPLACEMENT[motion])
    return (base + progress[:, None] * np.array(DIRECTIONS[direction])) % 1.0, direction


def _apart(path: Points, other: Points) -> bool:
    """Whether two shapes are apart in the first and the last frame.

    Were they kept apart all the way, the room around a shape would tell from one frame where it goes.
    """
    gaps = axis_gaps(path[[0, -1]], other[[0, -1]])
    return bool((gaps**2).sum(-1).min() >= SEPARATION**2)
