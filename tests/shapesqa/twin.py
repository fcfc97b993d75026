"""The naive twin: answers questions from what was drawn, not from the scene."""

import numpy as np

from sharpv.shapesqa import Question, Scene

NUMBERS = ("zero", "one", "two", "three", "four", "five")


def centroid(pixels: np.ndarray) -> np.ndarray:
    """The middle (x, y) of some pixels `[h, w]` on the torus, in shares of the frame."""
    rows, columns = np.nonzero(pixels)
    size = len(pixels)
    points = (np.stack([columns, rows], 1) + 0.5) / size * 2 * np.pi
    return np.arctan2(np.sin(points).mean(0), np.cos(points).mean(0)) / (2 * np.pi) % 1.0


def torus_gap(here: np.ndarray, there: np.ndarray) -> float:
    gap = np.abs(here - there)
    return float(np.hypot(*np.minimum(gap, 1 - gap)))


def change_of_scene(frames: np.ndarray, shapes: np.ndarray) -> int | None:
    """The frame whose background differs from the one before far more than others do."""
    bare = ~shapes.any(0)
    steps = []
    for time in range(1, len(frames)):
        both = bare[time] & bare[time - 1]
        steps.append(np.abs(frames[time].astype(int) - frames[time - 1])[both].mean())
    peak = int(np.argmax(steps))
    return peak + 1 if steps[peak] > 2 * np.median(steps) + 2 else None


def answer(question: Question, scene: Scene, frames: np.ndarray, shapes: np.ndarray) -> str:
    """Answers from the frames `[n, h, w, 3]` and the pixels of each shape, drawn alone `[shapes, n, h, w]`.

    Of the scene only the shapes' names are used: colour and kind.
    """
    cut = change_of_scene(frames, shapes)
    visible = shapes.any((2, 3))
    colours = [shape.colour for shape in scene.shapes]
    came = {i: int(seen.argmax()) for i, seen in enumerate(visible) if not seen[0]}
    asked = next((i for i, colour in enumerate(colours) if colour in question.text.split()), None)
    match question.family:
        case "recog":
            return scene.shapes[asked].kind
        case "scene_change":
            return "no" if cut is None else "yes"
        case "shape_count":
            return NUMBERS[int(visible.any(1).sum())]
        case "move_count":
            return NUMBERS[len(_movers(shapes, cut))]
        case "moving_colour":
            return colours[_movers(shapes, cut)[0]]
        case "moving_shape":
            return scene.shapes[_movers(shapes, cut)[0]].kind
        case "direction":
            return _way(shapes[asked], cut)
        case "start_pos":
            return _quadrant(shapes[asked][0])
        case "end_pos":
            return _quadrant(shapes[asked][-1])
        case "order":
            return colours[(min if "first" in question.text else max)(came, key=came.get)]
        case "vanish":
            return colours[next(i for i, seen in enumerate(visible) if seen[0] and not seen[-1])]
    raise AssertionError(question.family)


def _movers(shapes: np.ndarray, cut: int | None) -> list[int]:
    return [i for i, pixels in enumerate(shapes) if _way(pixels, cut)]


def _way(pixels: np.ndarray, cut: int | None) -> str | None:
    total = np.zeros(2)
    for time in range(1, len(pixels)):
        if time != cut and pixels[time].any() and pixels[time - 1].any():
            step = centroid(pixels[time]) - centroid(pixels[time - 1])
            total += (step + 0.5) % 1 - 0.5
    if np.abs(total).max() < 0.02:
        return None
    if abs(total[0]) > abs(total[1]):
        return "right" if total[0] > 0 else "left"
    return "down" if total[1] > 0 else "up"


def _quadrant(pixels: np.ndarray) -> str:
    x, y = centroid(pixels)
    return f"{'top' if y < 0.5 else 'bottom'}-{'left' if x < 0.5 else 'right'}"
