"""How unlike its frame and its past each visual token is: Visual SharpV (arXiv 2511.08003, section 3)."""

from typing import NamedTuple

import torch
from torch import Tensor

from sharpv.core.eager import eager
from sharpv.core.features import check_features, check_finite, norms_in_range, working_dtype

__all__ = ["Scores", "score"]

# Below this squared dissimilarity the rounding of a float32 cosine (about 2e-7) shows in its root.
_SMALLEST_SQUARE = 1e-3


class Scores(NamedTuple):
    """The scores of one video, float32, on the device of its features.

    Attributes:
        spatial: `[n, f]`, S in [0, 2]: dissimilarity of a token to the mean of its frame.
        temporal: `[n, f]`, T in [0, 2]: dissimilarity of a token to the one at its place in the frame before.
            The first frame has no T: its row is zero and takes no part in the ratios.
        importance: `[n, f]`, `I = T + w S`; the first row is `w S`, or S where w is 0.
        ratios: `[n]`, r in [0, 1]: `||T_t|| / (2 sqrt f)`, the first `||S_1|| / (2 sqrt f)`.
    """

    spatial: Tensor
    temporal: Tensor
    importance: Tensor
    ratios: Tensor


@eager
@torch.no_grad()
def score(features: Tensor, spatial_weight: float = 1.0) -> Scores:
    """Scores every visual token of one video in O(n f d), frame by frame.

    `Dissim(a, b) = ||a/||a|| - b/||b||||` in [0, 2]; a zero vector has unit vector 0. T does not depend on
    the length of any token, S does not depend on the scale of a frame. A token equal to the one before, up to
    a factor, has T = 0 up to rounding (1e-6), and exactly 0 where the two are identical.

    The work is done in float32 (float64 for float64 features), also under autocast, and holds three frames of
    it at a time. Frames where float32 falls short (zero tokens, norms outside 1e-10..1e15, tokens that nearly
    equal their frame's mean) are scored again in float64. On a GPU the call waits for the device once.

    `torch.compile` leaves this function as it is, behind a graph break: `fullgraph=True` refuses it.

    Args:
        features: `[n frames, f tokens, d]`, bfloat16, float16, float32 or float64, after the projector,
            before the LLM.
        spatial_weight: w in `I = T + w S`.

    Returns:
        The scores.

    Raises:
        InputError: another shape or dtype, no frame or no token, NaN or infinite features.
    """
    check_features(features)
    spatial, temporal, doubtful = _dissimilarities(features, working_dtype(features))
    for t in torch.nonzero(doubtful).flatten().tolist():
        pair = features[max(t - 1, 0) : t + 1]
        check_finite(pair[-1], t)
        again = _dissimilarities(pair, torch.float64)
        spatial[t], temporal[t] = again[0][-1], again[1][-1]
    spatial, temporal = spatial.float(), temporal.float()

    importance = temporal + spatial_weight * spatial
    if spatial_weight == 0:
        importance[0] = spatial[0]
    size = temporal.square().mean(-1)
    size[0] = spatial[0].square().mean()
    return Scores(spatial, temporal, importance, (size.sqrt() / 2).clamp(max=1))


def _dissimilarities(features: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Returns S `[n, f]`, T `[n, f]` and, per frame, whether `dtype` may have been too coarse for them."""
    n, f, d = features.shape
    norms, dots, gaps = features.new_zeros(3, n, f, dtype=dtype).unbind()
    totals = features.new_empty(n, d, dtype=dtype)
    ones = features.new_ones(f, dtype=dtype)
    # Buffers made once: a fresh one per frame costs more in page faults than the arithmetic on it.
    *converted, difference = features.new_empty(3, f, d, dtype=dtype).unbind()
    before = features[0]
    for t in range(n):
        frame = features[t] if features.dtype == dtype else converted[t % 2].copy_(features[t])
        # The sum points where the mean points. Products with a vector read the frame fast and know no TF32;
        # with out=, autocast leaves them alone. The fastest reader goes first, since it waits for the memory.
        torch.mv(frame.T, ones, out=totals[t])
        torch.mv(frame, totals[t], out=dots[t])
        torch.linalg.vector_norm(frame, dim=-1, out=norms[t])
        if t > 0:
            # ||a - b ||a||/||b|| || / ||a|| is the dissimilarity without the cancellation of 2 - 2 cos.
            scale = (norms[t] / norms[t - 1]).unsqueeze(-1)
            torch.addcmul(frame, before, scale, value=-1, out=difference)
            torch.linalg.vector_norm(difference, dim=-1, out=gaps[t])
        before = frame

    total_norms = torch.linalg.vector_norm(totals, dim=-1, keepdim=True)
    nonzero, total_nonzero = norms > 0, total_norms > 0
    # Between a zero and a nonzero vector the dissimilarity is 1, between two zeros 0.
    squares = torch.where(
        nonzero & total_nonzero, 2 - 2 * dots / norms / total_norms, nonzero ^ total_nonzero
    )
    spatial = squares.clamp(min=0).sqrt()
    temporal = torch.zeros_like(spatial)
    past = nonzero[:-1]
    temporal[1:] = torch.where(nonzero[1:] & past, gaps[1:] / norms[1:], nonzero[1:] ^ past)

    in_range = norms_in_range(norms)
    sound = (in_range & (squares > _SMALLEST_SQUARE)).all(-1)
    doubtful = ~sound
    # A token's T is as doubtful as the token before it.
    doubtful[1:] |= ~in_range[:-1].all(-1)
    return spatial.clamp(max=2), temporal.clamp(max=2), doubtful
