"""What each token shows, from the truth of the scene: targets of the auxiliary heads."""

import numpy as np
import torch
from torch import Tensor

from sharpv.shapesqa import Scene, Shape
from sharpv.shapesqa.scene import COLOURS, DIRECTIONS, KINDS, QUADRANTS, quadrant

__all__ = ["HEADS", "NONE", "cells", "lateness", "offsets", "token_labels"]

NONE = -100
"""No target here."""

HEADS = {
    "colour": len(COLOURS) + 1,
    "kind": len(KINDS) + 1,
    "place": len(QUADRANTS),
    "step": len(DIRECTIONS) + 2,
    "shot": 2,
    "motion": len(DIRECTIONS) + 2,
    "late": 3,
    "start": len(QUADRANTS),
    "cut": 2,
    "gone": len(COLOURS) + 1,
}
"""Classes of each head.

What a token shows: colour, kind and place of its shape (0 none), the shape's step from the frame before, and
whether the scene has just changed. What it needs the past for: the shape's motion so far, whether it came
late, where it was first seen, whether the scene has changed before, and the colour of what was here.
"""


def cells(owner: Tensor, side: int, least: float) -> Tensor:
    """Returns the shape that covers most of each cell, if it covers enough of it.

    Args:
        owner: `[b, n, size, size]` from `render`.
        side: cells along a frame's side; divides the size.
        least: the smallest share of the cell that counts.

    Returns:
        int64 `[b, n, side, side]`: 0 for the background, else 1 + the shape's index.
    """
    b, n, size, _ = owner.shape
    pixels = size // side
    blocks = owner.view(b, n, side, pixels, side, pixels)
    count = int(owner.max()) + 1
    cover = torch.stack([(blocks == i).sum((3, 5)) for i in range(count)])
    cover[0] = int(least * pixels * pixels)
    return cover.argmax(0)


def offsets(scenes: list[Scene], shown: Tensor) -> Tensor:
    """Returns from each cell the way to the centre of the shape that it shows.

    Args:
        scenes: b scenes.
        shown: `[b, n, side, side]` from `cells`.

    Returns:
        float32 `[b, n, side * side, 2]` as (x, y) in cells, the short way round; 0 in the background.
    """
    side = shown.shape[-1]
    middle = (torch.arange(side) + 0.5) / side
    here = torch.stack((middle.repeat(side), middle.repeat_interleave(side)), -1)
    rows = []
    for scene, cells_ in zip(scenes, shown.flatten(2).cpu(), strict=True):
        paths = torch.from_numpy(np.stack([shape.path for shape in scene.shapes], 1)).float()
        centre = paths.gather(1, (cells_ - 1).clamp(min=0)[..., None].expand(-1, -1, 2))
        way = ((centre - here + 0.5) % 1.0 - 0.5) * side
        rows.append(way * (cells_ > 0)[..., None])
    return torch.stack(rows)


def token_labels(scenes: list[Scene], shown: Tensor) -> dict[str, Tensor]:
    """Returns targets `[b, n, cells]` of each head.

    Args:
        scenes: b scenes.
        shown: `[b, n, side, side]` from `cells`.
    """
    shown = shown.flatten(2).cpu()
    rows = [_labels(scene, cells_) for scene, cells_ in zip(scenes, shown, strict=True)]
    return {name: torch.stack([row[name] for row in rows]) for name in HEADS}


def _labels(scene: Scene, shown: Tensor) -> dict[str, Tensor]:
    n = scene.frames
    table = {name: torch.full((n, len(scene.shapes) + 1), NONE) for name in HEADS}
    for name in ("colour", "kind", "step", "motion"):
        table[name][:, 0] = 0
    for index, shape in enumerate(scene.shapes, start=1):
        table["colour"][:, index] = 1 + list(COLOURS).index(shape.colour)
        table["kind"][:, index] = 1 + KINDS.index(shape.kind)
        table["step"][:, index], table["motion"][:, index] = _motion(scene, shape)
        table["late"][:, index] = lateness(scene, shape)
        places = torch.tensor([QUADRANTS.index(quadrant(point)) for point in shape.path])
        table["start"][:, index], table["place"][:, index] = places[shape.first], places
    labels = {name: values.gather(1, shown) for name, values in table.items()}
    labels["shot"], labels["cut"] = torch.zeros_like(shown), torch.zeros_like(shown)
    if scene.cut is not None:
        labels["shot"][scene.cut] = 1
        labels["cut"][scene.cut :] = 1
    labels["gone"] = _gone(scene, shown)
    labels["motion"][0] = labels["step"][0] = NONE
    return labels


def _motion(scene: Scene, shape: Shape) -> tuple[Tensor, Tensor]:
    """Returns what a shape does from the frame before, and has done so far: 1 stays, 2 + direction moves."""
    moves = np.zeros(scene.frames, dtype=bool)
    moves[1:] = np.abs(np.diff(shape.path, axis=0)).max(1) > 1e-9
    jump = scene.cut if scene.cut_moves_shapes else None
    if jump is not None:
        moves[jump] = False
    direction = 2 + list(DIRECTIONS).index(shape.direction) if shape.direction else 1
    step, motion = (torch.from_numpy(np.where(does, direction, 1)) for does in (moves, np.cumsum(moves) > 0))
    if jump is not None:
        step[jump] = NONE
    step[shape.first] = NONE
    return step, motion


def lateness(scene: Scene, shape: Shape) -> int:
    """Returns 0 for a shape that was there from the start, 1 for the first to appear, 2 for the last."""
    if not shape.first:
        return 0
    return 1 if shape.first == min(s.first for s in scene.shapes if s.first) else 2


def _gone(scene: Scene, shown: Tensor) -> Tensor:
    """Returns 1 + the colour of the shape that vanished from a cell, 0 elsewhere."""
    labels = torch.zeros_like(shown)
    for index, shape in enumerate(scene.shapes, start=1):
        jumps = scene.cut_moves_shapes and scene.cut is not None and scene.cut > shape.last
        end = scene.cut if jumps else scene.frames
        was = shown[shape.last] == index
        labels[shape.last + 1 : end, was] = 1 + list(COLOURS).index(shape.colour)
    return labels
