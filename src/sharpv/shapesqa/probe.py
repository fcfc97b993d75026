"""Small classifiers that look for an answer in a single frame: of its truth, and of its pixels."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sharpv.shapesqa.oneframe import View
from sharpv.shapesqa.questions import ORDER, Question
from sharpv.shapesqa.render import render
from sharpv.shapesqa.scene import (
    DIRECTIONS,
    KINDS,
    QUADRANTS,
    SEPARATION,
    SHAPES,
    Scene,
    axis_gaps,
    quadrant,
)

__all__ = ["backgrounds", "features", "fit", "pictures"]

Floats = NDArray[np.float64]
RIDGE = 1.0
STEPS, TOLERANCE = 40, 1e-3
PIXELS = 16
CLIPS_AT_ONCE = 64


def features(question: Question, view: View) -> Floats:
    """Describes each option by what a frame shows: `[options, d]`, d fixed within a family."""
    described = DESCRIPTIONS[question.family](question, view)
    return np.concatenate([described, np.eye(len(question.options))], 1)


def fit(options: Floats, answers: NDArray[np.int64], train: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Fits a conditional logit, one weight per feature shared by all options, and answers every question.

    Args:
        options: `[n, options, d]`.
        answers: index of the right option, `[n]`.
        train: which questions to learn from, `[n]`.

    Returns:
        The most likely option of each question, `[n]`.
    """
    mean, spread = options[train].mean((0, 1)), options[train].std((0, 1)) + 1e-6
    x = (options - mean) / spread
    known, right = x[train], np.eye(x.shape[1])[answers[train]]
    weights, lowest = np.zeros(x.shape[-1]), np.inf
    best = step = weights
    for _ in range(STEPS):
        chosen, loss = _softmax(known @ weights, right)
        loss += RIDGE * float(weights @ weights)
        if loss > lowest + TOLERANCE:
            step = step / 2  # Newton went too far
        else:
            if lowest - loss < TOLERANCE:
                break
            best, lowest, step = weights, loss, _newton(known, chosen, right, weights)
        weights = best + step
    found: NDArray[np.int64] = (x @ best).argmax(1)
    return found


def _softmax(logits: Floats, right: Floats) -> tuple[Floats, float]:
    """Returns the probabilities `[n, options]` and the cross-entropy, summed."""
    logits = logits - logits.max(1, keepdims=True)
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return np.exp(log), -float((log * right).sum())


def _newton(x: Floats, chosen: Floats, right: Floats, weights: Floats) -> Floats:
    """Returns Newton's step `[d]` of the ridge-penalised cross-entropy."""
    slope = np.tensordot(chosen - right, x, 2) + 2 * RIDGE * weights
    spread = x - (chosen[..., None] * x).sum(1, keepdims=True)
    flat = (spread * np.sqrt(chosen)[..., None]).reshape(-1, x.shape[-1])
    return -np.linalg.solve(flat.T @ flat + 2 * RIDGE * np.eye(len(weights)), slope)


def backgrounds(scenes: list[Scene], time: int) -> Tensor:
    """Draws one frame of each scene without its shapes: where they are, `features` says better than pixels.

    Returns:
        RGB, uint8 `[n, 3, 16, 16]`.
    """
    drawn = []
    for start in range(0, len(scenes), CLIPS_AT_ONCE):
        some = [replace(scene, shapes=()) for scene in scenes[start : start + CLIPS_AT_ONCE]]
        drawn.append(render(some, PIXELS).frames[:, time])
    return torch.cat(drawn)


def pictures(frames: Tensor) -> Floats:
    """Describes frames: 4 x 4 coarse pixels, the channels' means and spreads, and how rough they are.

    Args:
        frames: one of each clip, RGB, uint8 `[n, 3, size, size]`, size a multiple of 4.

    Returns:
        `[n, 2, d]`: of two options the first is described by the frame and a one, the second by zeros.
    """
    pixels = frames.double() / 255
    coarse, flat = F.avg_pool2d(pixels, pixels.shape[-1] // 4).flatten(1), pixels.flatten(2)
    # What is lost in compression are the small steps between neighbours.
    rough = torch.cat([pixels.diff(dim=axis).abs().mean((2, 3)) for axis in (2, 3)], 1)
    rows = torch.cat([coarse, flat.mean(2), flat.std(2), rough], 1).numpy()
    x = np.column_stack([rows, np.ones(len(rows))])
    return np.stack([x, np.zeros_like(x)], 1)


def _waves(places: Floats) -> Floats:
    """Returns where points lie on the torus, without an edge: `[n, axes]` to `[n, 2 axes]`."""
    return np.concatenate([np.sin(2 * np.pi * places), np.cos(2 * np.pi * places)], 1)


def _direction(question: Question, view: View) -> Floats:
    asked = view.asked(question)
    if asked is None:
        return np.zeros((len(question.options), 8))
    steps = np.array([DIRECTIONS[way] for way in question.options])
    along = steps @ view.places[asked] % 1.0
    free = view.room[asked]
    # In DIRECTIONS a way and its opposite are neighbours.
    return np.column_stack([along, along**2, _waves(along[:, None]), free, free[[1, 0, 3, 2]]])


def _place(question: Question, view: View) -> Floats:
    asked = view.asked(question)
    if asked is None:
        return np.zeros((len(question.options), 8))
    place, now = view.places[asked], QUADRANTS.index(quadrant(view.places[asked]))
    rows = []
    for index in range(len(QUADRANTS)):
        centre = np.array([0.25 + 0.5 * (index % 2), 0.25 + 0.5 * (index // 2)])
        apart = np.zeros(4)
        apart[index ^ now] = 1
        rows.append([*apart, *axis_gaps(place, centre), *np.sin(2 * np.pi * (place - centre))])
    return np.array(rows)


def _numbers(question: Question, view: View) -> Floats:
    """The same facts for every option, each with weights of its own."""
    closest = float(view.gaps.min(initial=1.0))
    mean = float(view.gaps.sum() / max(view.gaps.size, 1))
    facts = [closest, closest**2, mean, float(closest < SEPARATION)]
    facts += [float(len(view.shapes) == number) for number in range(SHAPES[1] + 1)]
    return np.kron(np.eye(len(question.options)), np.array(facts))


def _colours(question: Question, view: View) -> Floats:
    """For each colour: whether it is visible and, if so, where, how large, of what kind and how lonely."""
    v = len(view.shapes)
    rows = np.zeros((len(question.options), 15 + len(KINDS)))
    if not v:
        return rows
    free = view.room.reshape(v, -1)
    facts = [view.gaps.min(1, initial=1.0), np.arange(v) / v, free.mean(1), free.min(1)]
    places = [view.places, np.abs(view.places - 0.5), _waves(view.places)]
    visible = np.column_stack([*facts, *places, np.tile([1.0, v], (v, 1))])
    for shape, row in zip(view.shapes, visible, strict=True):
        looks = [shape.radius, *(shape.kind == kind for kind in KINDS)]
        rows[question.options.index(shape.colour)] = [*row, *looks]
    return rows


def _order(question: Question, view: View) -> Floats:
    """The same, and once more where the last is asked for, so that it may be told from the first."""
    described = _colours(question, view)
    return np.concatenate([described, described * (question.text == ORDER[1])], 1)


def _kinds(question: Question, view: View) -> Floats:
    asked = view.asked(question)
    nearest = view.gaps.min(1, initial=1.0)
    rows = []
    for kind in question.options:
        mine = [i for i, shape in enumerate(view.shapes) if shape.kind == kind]
        gap = min((nearest[i] for i in mine), default=1.0)
        radius = max((view.shapes[i].radius for i in mine), default=0.0)
        rows.append([asked is not None and asked in mine, len(mine), len(mine) ** 2, bool(mine), gap, radius])
    return np.array(rows, dtype=np.float64)


DESCRIPTIONS: dict[str, Callable[[Question, View], Floats]] = {
    "direction": _direction,
    **dict.fromkeys(("start_pos", "end_pos"), _place),
    **dict.fromkeys(("scene_change", "move_count", "shape_count"), _numbers),
    **dict.fromkeys(("moving_colour", "vanish"), _colours),
    "order": _order,
    **dict.fromkeys(("recog", "moving_shape"), _kinds),
}
