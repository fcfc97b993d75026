"""Frames as WebP pictures that together stay small."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["webp_pictures"]

# Longer side in pixels and quality, from the best on.
STEPS = ((640, 90), (640, 75), (640, 50), (480, 50), (480, 30), (320, 30), (240, 20), (160, 10))
# Lossy WebP halves the resolution of colour, which small pictures cannot spare.
LOSSLESS = (128, 100)
SAMPLE = 8


def webp_pictures(frames: NDArray[np.uint8], budget: int) -> list[bytes]:
    """Encodes frames at the best size and quality at which all of them fit.

    Args:
        frames: RGB, uint8 `[m, h, w, 3]`.
        budget: bytes of all pictures together; not kept where even pictures of 160 pixels need more.

    Returns:
        One picture per frame, all of one size: the frames', or smaller.
    """
    steps = (LOSSLESS, *STEPS) if max(frames.shape[1:3]) <= LOSSLESS[0] else STEPS
    some = frames[:: -(-len(frames) // SAMPLE)]
    for step in steps[:-1]:
        # A few tell whether it is worth the time to encode all.
        if sum(len(_encode(frame, *step)) for frame in some) * len(frames) > budget * len(some):
            continue
        pictures = [_encode(frame, *step) for frame in frames]
        if sum(map(len, pictures)) <= budget:
            return pictures
    return [_encode(frame, *steps[-1]) for frame in frames]


def _encode(frame: NDArray[np.uint8], side: int, quality: int) -> bytes:
    picture, file = Image.fromarray(frame), BytesIO()
    picture.thumbnail((side, side))
    picture.save(file, "webp", quality=quality, lossless=quality == LOSSLESS[1])
    return file.getvalue()
