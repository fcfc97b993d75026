"""What this machine can do at best: floating-point operations and bytes per second, as measured."""

import time
from collections.abc import Callable

import torch

from sharpv.bench.clock import wait

__all__ = ["copy_rate", "faster_dtype", "matmul_rate"]

ROUNDS = 5
SIDES = {"cuda": 8192, "cpu": 2048}
COPIED_BYTES = {"cuda": 2**30, "cpu": 2**28}


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int | None = None) -> float:
    """Returns the operations per second of the best of five products of two large square matrices.

    Args:
        device: where to measure.
        dtype: of the matrices.
        side: rows and columns; 8192 on CUDA and 2048 elsewhere by default.
    """
    side = side or SIDES.get(device.type, SIDES["cpu"])
    left = torch.randn(side, side).to(device, dtype)
    right = torch.randn(side, side).to(device, dtype)
    return 2 * side**3 / _best(lambda: left @ right, device)


def copy_rate(device: torch.device) -> float:
    """Returns the bytes per second, read and written, of the best of five copies of a large block."""
    size = COPIED_BYTES.get(device.type, COPIED_BYTES["cpu"])
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best(lambda: target.copy_(source), device)


def faster_dtype(device: torch.device) -> torch.dtype:
    """Returns bfloat16 where its products are as fast as those of float32, as on CUDA, else float32."""
    if device.type == "cuda":
        return torch.bfloat16
    rates = {dtype: matmul_rate(device, dtype, side=1024) for dtype in (torch.bfloat16, torch.float32)}
    return max(rates, key=lambda dtype: rates[dtype])


def _best(work: Callable[[], object], device: torch.device) -> float:
    """Returns the seconds of the fastest round after one of warm-up."""
    times = []
    for _ in range(ROUNDS + 1):
        wait(device)
        start = time.perf_counter()
        work()
        wait(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])
