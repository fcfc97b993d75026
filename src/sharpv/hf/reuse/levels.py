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
    half precision only the range is left to tell, and the usual one is taken.

    Args:
        frames: `[..., 3, H, W]`, of any number.
        usual: of the family's released processors.
        given: what the user says, which is checked by the range alone.
    """
    sample = frames[..., :: max(frames.shape[-2] // _SIDE, 1), :: max(frames.shape[-1] // _SIDE, 1)]
    rounded = frames.dtype.itemsize < torch.float32.itemsize
    if given is not None or rounded:
        likely = given or usual
        return likely if _in_range(likely.levels(sample)) else None
    for normalization in (usual, HALF, CLIP, IMAGENET):
        levels = normalization.levels(sample)
        if _in_range(levels) and bool(((levels - levels.round()).abs() < _WHOLE).all()):
            return normalization
    return None


def _in_range(levels: Tensor) -> bool:
    """Whether levels can be those of pixels; false for NaN."""
    return bool(((levels >= _LOWEST) & (levels <= _HIGHEST)).all())
