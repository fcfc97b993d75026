"""Tokens as vectors: what the methods that look at features share.

Products with one vector at a time, into buffers made before: they know no TF32, autocast leaves them alone,
and nothing as large as the video is made on the way.
"""

import torch
from torch import Tensor

from sharpv.core.features import check_features, check_finite, norms_in_range, working_dtype

__all__ = ["channel_spreads", "dots", "frame_means", "inverse", "weighted_sums", "widen"]


def widen(features: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the tokens of one video, and their norms, in a precision that holds them.

    Args:
        features: `[n frames, f tokens, d]`, bfloat16, float16, float32 or float64.

    Returns:
        `[n, f, d]` and `[n, f]`: float64 for float64 features and where a norm is outside 1e-10..1e15 (zero
        tokens too), float32 for all others.

    Raises:
        InputError: another shape or dtype, no frame or no token, NaN or infinite features.
    """
    check_features(features)
    vectors = features.to(working_dtype(features))
    norms = torch.linalg.vector_norm(vectors, dim=-1)
    if not norms_in_range(norms).all():
        for t, frame in enumerate(features):
            check_finite(frame, t)
        vectors = features.double()
        norms = torch.linalg.vector_norm(vectors, dim=-1)
    return vectors, norms


def inverse(norms: Tensor) -> Tensor:
    """Returns 1 / norm, and 0 for a norm of 0: the unit vector of a zero vector is 0."""
    return torch.where(norms >= torch.finfo(norms.dtype).tiny, 1 / norms, 0)


def channel_spreads(vectors: Tensor) -> Tensor:
    """Returns `[d]`: the variance of each channel over all tokens `[n, f, d]`, times their number."""
    n, f, _ = vectors.shape
    ones = vectors.new_ones(n, f)
    mean = weighted_sums(vectors, ones).sum(0) / (n * f)
    spreads = torch.zeros_like(mean)
    # A buffer made once: torch.var over leading dimensions takes six times as long on a CPU.
    squares = torch.empty_like(vectors[0])
    for frame in vectors:
        torch.sub(frame, mean, out=squares).square_()
        spreads += squares.sum(0)
    return spreads


def dots(vectors: Tensor, directions: Tensor) -> Tensor:
    """Returns `[n, f]`: the product of each token with its frame's direction.

    Args:
        vectors: `[n, f, d]`.
        directions: `[n, d]`, of the same dtype.
    """
    products = vectors.new_empty(vectors.shape[:2])
    for t, frame in enumerate(vectors):
        torch.mv(frame, directions[t], out=products[t])
    return products


def frame_means(vectors: Tensor) -> Tensor:
    """Returns `[n, d]`: the mean token of each frame of `[n, f, d]`."""
    n, f, _ = vectors.shape
    return weighted_sums(vectors, vectors.new_full((n, f), 1 / f))


def weighted_sums(vectors: Tensor, weights: Tensor) -> Tensor:
    """Returns `[n, d]`: the sum over each frame's tokens, each times its weight.

    Args:
        vectors: `[n, f, d]`.
        weights: `[n, f]`, of the same dtype.
    """
    n, _, d = vectors.shape
    sums = vectors.new_empty(n, d)
    for t, frame in enumerate(vectors):
        torch.mv(frame.T, weights[t], out=sums[t])
    return sums
