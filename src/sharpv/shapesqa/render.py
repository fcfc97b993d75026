"""Draws scenes: signed distances, anti-aliased, each shape within its own box."""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sharpv.shapesqa.scene import COLOURS, KINDS, RADIUS, Scene

__all__ = ["Rendered", "render", "render_clip"]

COARSE, FINE = 6, 32
REACH = 1.1
"""The tip of a triangle, in radii: the farthest that any kind reaches."""

DARKEST, COARSE_SHARE, TINT_SHARE, FINE_SHARE = 0.05, 0.28, 0.42, 0.05


class Rendered(NamedTuple):
    """Drawn clips.

    Attributes:
        frames: RGB, uint8 `[b, n, 3, size, size]`.
        owner: the shape that each pixel shows, as 1 + its index in `Scene.shapes`, 0 for the background;
            int64 `[b, n, size, size]`.
    """

    frames: Tensor
    owner: Tensor


def render_clip(scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Draws one scene.

    Args:
        scene: what happens.
        size: side of a frame in pixels, at least 16.

    Returns:
        RGB frames, `[n, size, size, 3]`.

    Raises:
        ValueError: a size that is too small.
    """
    frames: NDArray[np.uint8] = render([scene], size).frames[0].permute(0, 2, 3, 1).contiguous().numpy()
    return frames


def render(scenes: list[Scene], size: int = 64, device: torch.device | str = "cpu") -> Rendered:
    """Draws scenes of equal length. A clip does not depend on the others that are drawn with it.

    Args:
        scenes: one or more, all with the same number of frames.
        size: side of a frame in pixels, at least 16.
        device: where to draw. The noise differs between kinds of device, all else agrees to rounding.

    Raises:
        ValueError: no scenes, of different lengths, or a size that is too small.
    """
    lengths = {scene.frames for scene in scenes}
    if len(lengths) != 1:
        raise ValueError(f"scenes of {sorted(lengths)} frames: give at least one, all of one length")
    if size < 16:
        raise ValueError(f"size {size}: must be at least 16 pixels")
    n = lengths.pop()
    frames = _backgrounds(scenes, n, size, device)
    owner = torch.zeros(len(scenes), n, size, size, dtype=torch.int64, device=device)
    for index in range(max(len(scene.shapes) for scene in scenes)):
        _draw(scenes, index, frames, owner)
    for scene, clip in zip(scenes, frames, strict=True):
        if scene.noise:
            generator = torch.Generator(device).manual_seed(scene.seed)
            clip += scene.noise * torch.randn(clip.shape, generator=generator, device=device)
    return Rendered(frames.clamp_(0, 1).mul_(255).round_().to(torch.uint8), owner)


def _backgrounds(scenes: list[Scene], n: int, size: int, device: torch.device | str) -> Tensor:
    """Returns `[b, n, 3, size, size]`: a coloured texture per shot, which a pan moves around the torus."""
    fields = [_fields(scene) for scene in scenes]
    coarse, tint, fine = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*fields, strict=True))
    rough, sharp = (_resize(points, size).to(device) for points in (COARSE, FINE))
    shots = DARKEST + COARSE_SHARE * (rough @ coarse @ rough.T) + TINT_SHARE * tint[..., None, None]
    shots = (shots + FINE_SHARE * (sharp @ fine @ sharp.T)).clamp(0, 1)
    times = torch.arange(n)
    frames = torch.empty(len(scenes), n, 3, size, size, device=device)
    for scene, shot, clip in zip(scenes, shots, frames, strict=True):
        cut = n if scene.cut is None else scene.cut
        clip[:cut], clip[cut:] = shot[0], shot[1]
        if any(scene.pan):
            for t, clip_t in zip(times.tolist(), clip, strict=True):
                x, y = (round(part * t / (n - 1) * size) for part in scene.pan)
                clip_t.copy_(torch.roll(shot[0], (y, x), (-2, -1)))
    return frames


def _fields(scene: Scene) -> tuple[NDArray[np.float32], ...]:
    """Draws what two backgrounds are made of: coarse colour, tint, and fine grey texture."""
    rng = np.random.default_rng(scene.seed)
    coarse = rng.random((2, 3, COARSE, COARSE), dtype=np.float32)
    tint = rng.random((2, 3), dtype=np.float32)
    fine = rng.standard_normal((2, 1, FINE, FINE), dtype=np.float32)
    return coarse, tint, fine


@cache
def _resize(points: int, size: int) -> Tensor:
    """Returns `[size, points]`: Catmull-Rom interpolation of a periodic signal at the pixels' centres."""
    matrix = torch.zeros(size, points)
    for pixel in range(size):
        place = (pixel + 0.5) / size * points - 0.5
        left = math.floor(place)
        x = place - left
        weights = (
            ((-0.5 * x + 1) * x - 0.5) * x,
            (1.5 * x - 2.5) * x * x + 1,
            ((-1.5 * x + 2) * x + 0.5) * x,
            (0.5 * x - 0.5) * x * x,
        )
        for offset, weight in enumerate(weights, start=-1):
            matrix[pixel, (left + offset) % points] += weight
    return matrix


def _draw(scenes: list[Scene], index: int, frames: Tensor, owner: Tensor) -> None:
    """Paints the shape of one index into every scene that has it, in place."""
    rows = [b for b, scene in enumerate(scenes) if len(scene.shapes) > index]
    shapes = [scenes[b].shapes[index] for b in rows]
    device, n, size = frames.device, frames.shape[1], frames.shape[-1]
    centre = torch.from_numpy(np.stack([shape.path for shape in shapes])).float().to(device)
    radius = torch.tensor([shape.radius for shape in shapes], device=device)[:, None, None, None]
    kind = torch.tensor([KINDS.index(shape.kind) for shape in shapes], device=device)[:, None, None, None]
    colour = torch.tensor([COLOURS[shape.colour] for shape in shapes], device=device) / 255
    span = torch.tensor([(shape.first, shape.last) for shape in shapes], device=device)
    times = torch.arange(n, device=device)
    visible = (times >= span[:, :1]) & (times <= span[:, 1:])

    side = min(size, 2 * math.ceil(REACH * RADIUS[1] * size + 1) + 1)
    corner = (centre * size - side / 2).round().long()
    pixels = corner[..., None] + torch.arange(side, device=device)
    x, y = ((pixels + 0.5) / size - centre[..., None]).unbind(2)
    distance = _signed_distance(kind, x[:, :, None, :], y[:, :, :, None], radius)
    alpha = (0.5 - distance * size).clamp(0, 1) * visible[..., None, None]

    column, row = (pixels % size).unbind(2)
    place = (row[:, :, :, None] * size + column[:, :, None, :]).flatten(2)
    alpha = alpha.flatten(2)
    chosen = torch.tensor(rows, device=device)
    canvas = frames.flatten(3)[chosen]
    where = place[:, :, None].expand(-1, -1, 3, -1)
    old = canvas.gather(3, where)
    new = old + alpha[:, :, None] * (colour[:, None, :, None] - old)
    frames[chosen] = canvas.scatter(3, where, new).view(len(rows), n, 3, size, size)
    map_ = owner.flatten(2)[chosen]
    mine = torch.where(alpha > 0.5, index + 1, map_.gather(2, place))
    owner[chosen] = map_.scatter(2, place, mine).view(len(rows), n, size, size)


def _signed_distance(kind: Tensor, x: Tensor, y: Tensor, radius: Tensor) -> Tensor:
    """Returns how far outside its shape each point is; negative inside. All in shares of the frame."""
    x, y = torch.broadcast_tensors(x, y)
    far, across, along = torch.hypot(x, y), x.abs(), y.abs()
    shapes = (
        far - radius,
        torch.maximum(across, along) - 0.88 * radius,
        torch.maximum(0.866 * across + 0.5 * y, -y) - 0.55 * radius,
        torch.minimum(
            torch.maximum(across - 0.36 * radius, along - radius),
            torch.maximum(along - 0.36 * radius, across - radius),
        ),
        (far - 0.75 * radius).abs() - 0.25 * radius,
    )
    result = shapes[0]
    for index, distance in enumerate(shapes[1:], start=1):
        result = torch.where(kind == index, distance, result)
    return result
