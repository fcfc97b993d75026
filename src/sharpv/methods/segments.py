"""Where a video changes: segments of frames whose mean tokens resemble each other."""

import torch
from torch import Tensor

from sharpv.methods.vectors import inverse

__all__ = ["segment_starts"]


def segment_starts(frames: Tensor, segments: int, cut: float) -> list[bool]:
    """Says of each frame whether a segment starts there.

    It does where the cosine to the frame before is below `cut`, or among the `segments - 1` lowest; ties: the
    lower index.

    Args:
        frames: `[n, d]`, the mean tokens of the frames.
        segments: at least so many, or one per frame.
        cut: of the cosine.
    """
    units = frames * inverse(torch.linalg.vector_norm(frames, dim=-1, keepdim=True))
    cosines = (units[1:] * units[:-1]).sum(-1)
    cuts = cosines < cut
    cuts[cosines.argsort(stable=True)[: segments - 1]] = True
    return [True, *cuts.tolist()]
