"""From what a processor made of frames back to their colours, levels of 0..255."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    IMAGENET_STANDARD_MEAN,
    IMAGENET_STANDARD_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

__all__ = ["CLIP", "HALF", "IMAGENET", "Normalization", "find_normalization"]

# Some processors resize after rounding, and overshoot at edges; a wrong deviation is off by far more.
_LOWEST, _HIGHEST = -16, 271
# Of a level, by which float32 misses a whole one at most.
_WHOLE = 0.02
# Pixels of each side that tell how frames were normalised.
_SIDE = 64


@dataclass(frozen=True, slots=True)
class Normalization:
    """`(levels / 255 - mean) / std` per channel, what processors do to the levels of frames."""

    mean: Sequence[float]
    std: Sequence[float]

    def levels(self, pixels: Tensor) -> Tensor:
        """Returns the levels of normalised pixels `[..., 3, H, W]`, in float32."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=pixels.device).view(-1, 1, 1) * 255
            for values in (self.mean, self.std)
        )
        return pixels.float() * std + mean


HALF = Normalization(IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD)
CLIP = Normalization(OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
IMAGENET = Normalization(IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def find_normalization(
    frames: Tensor, usual: Normalization, given: Normalization | None
) -> Normalization | None:
    """Returns how frames were normalised; None where nothing that is known makes levels of them.

    Processors round frames to whole levels when they resize them, which tells a wrong mean or deviation. In
    half precision only pixels near 0 are exact enough to tell; too few for a choice, so that the usual one
    is taken or none.

    Args:
        frames: `[..., 3, H, W]`, of any number.
        usual: of the family's released processors.
        given: what the user says, which is checked by the range alone.
    """
    sample = frames[..., :: max(frames.shape[-2] // _SIDE, 1), :: max(frames.shape[-1] // _SIDE, 1)]
    if given is not None:
        return given if _in_range(given.levels(sample)) else None
    rounded = frames.dtype.itemsize < torch.float32.itemsize
    for normalization in (usual,) if rounded else (usual, HALF, CLIP, IMAGENET):
        levels = normalization.levels(sample)
        if _in_range(levels) and _whole(levels, sample, normalization):
            return normalization
    return None


def _whole(levels: Tensor, pixels: Tensor, normalization: Normalization) -> bool:
    """Whether levels are whole, as far as their pixels can tell."""
    off = torch.full_like(levels, _WHOLE)
    if pixels.dtype.itemsize < levels.dtype.itemsize:
        spread = torch.tensor(normalization.std, device=pixels.device).view(-1, 1, 1) * 255
        # Half a step of the dtype, and a part of that for pixels which were cast twice.
        off += pixels.float().abs() * spread * (0.625 * torch.finfo(pixels.dtype).eps)
    return bool(((levels - levels.round()).abs() < off).all())


def _in_range(levels: Tensor) -> bool:
    """Whether levels can be those of pixels; false for NaN."""
    return bool(((levels >= _LOWEST) & (levels <= _HIGHEST)).all())
