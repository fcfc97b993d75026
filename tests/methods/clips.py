"""Features that the tests of the methods look at."""

import torch
from torch import Tensor

import sharpv


def video(n: int, f: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A walk: each frame resembles the one before, and every token has its own pace."""
    generator = torch.Generator().manual_seed(seed)
    first = 2 * torch.randn(1, f, d, generator=generator)
    pace = torch.rand(1, f, 1, generator=generator)
    return (first + (pace * torch.randn(n, f, d, generator=generator)).cumsum(0)).to(dtype)


def keep(count: int, n: int, f: int) -> sharpv.SharpVConfig:
    """Asks for this many tokens of a video; no frame has a right to any."""
    return sharpv.SharpVConfig(retention=count / (n * f))
