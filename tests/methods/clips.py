"""Features that the tests of the methods look at."""

import torch
from torch import Tensor

import sharpv
from sharpv.methods import Selection, TokenPruner, needs_attention


def video(n: int, f: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """A walk: each frame resembles the one before, and every token has its own pace."""
    generator = torch.Generator().manual_seed(seed)
    first = 2 * torch.randn(1, f, d, generator=generator)
    pace = torch.rand(1, f, 1, generator=generator)
    return (first + (pace * torch.randn(n, f, d, generator=generator)).cumsum(0)).to(dtype)


def keep(count: int, n: int, f: int) -> sharpv.SharpVConfig:
    """Asks for this many tokens of a video; no frame has a right to any."""
    return sharpv.SharpVConfig(retention=count / (n * f))


def looks(n: int, f: int, seed: int = 0) -> Tensor:
    """Attention that every token received, of which one in six received much more."""
    generator = torch.Generator().manual_seed(seed)
    attention = torch.rand(n, f, generator=generator) + 0.1
    return attention * torch.where(torch.rand(n, f, generator=generator) < 1 / 6, 10, 1)


def choose(
    pruner: TokenPruner, features: Tensor, config: sharpv.SharpVConfig, grid: tuple[int, int] | None = None
) -> Selection:
    """Has any method choose; those that look at attention are given some."""
    if needs_attention(pruner):
        return pruner.select(features, config, grid, looks(*features.shape[:2]))
    return pruner.select(features, config, grid)
