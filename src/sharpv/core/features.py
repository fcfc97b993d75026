"""Which features can be looked at, and in which precision."""

import torch
from torch import Tensor

from sharpv.errors import InputError

__all__ = ["check_features", "check_finite", "norms_in_range", "working_dtype"]

_DTYPES = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
# Squares and products of norms in this range stay clear of float32's limits.
_SMALLEST_NORM, _LARGEST_NORM = 1e-10, 1e15


def check_features(features: Tensor) -> None:
    """Looks at the dtype and the shape of the features of one video, not at their values.

    Raises:
        InputError: a dtype that is no float of 16, 32 or 64 bits, or a shape other than
            `[n frames, f tokens, d]`, each at least 1.
    """
    if features.dtype not in _DTYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise InputError(f"features have dtype {features.dtype}: convert them to one of {names}")
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(
            f"features have shape {list(features.shape)}: give one video as [frames, tokens, channels], "
            "each at least 1"
        )


def check_finite(frame: Tensor, t: int) -> None:
    """Looks at the values of one frame `[f, d]`; t is its number, for the message.

    Raises:
        InputError: NaN, infinity, or a token whose norm is infinite in float64.
    """
    if not torch.linalg.vector_norm(frame, dim=-1, dtype=torch.float64).isfinite().all():
        raise InputError(
            f"the features of frame {t} hold NaN, infinity or values whose norm overflows: look for what "
            "made them (often a vision tower run in float16; use bfloat16 or float32)"
        )


def working_dtype(features: Tensor) -> torch.dtype:
    """Returns what to compute in: float64 for float64 features, float32 for all others."""
    return torch.float64 if features.dtype == torch.float64 else torch.float32


def norms_in_range(norms: Tensor) -> Tensor:
    """Returns, as bool of the same shape, where float32 is enough for tokens of these norms: 1e-10..1e15."""
    return (norms > _SMALLEST_NORM) & (norms < _LARGEST_NORM)
