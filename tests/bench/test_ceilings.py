"""What the machine can do at best, and the clock and the memory that figures are read from."""

import pytest
import torch

from sharpv.bench.ceilings import copy_rate, faster_dtype, matmul_rate
from sharpv.bench.clock import PEAK_KINDS, peak_bytes, reset_peak, seconds

CPU = torch.device("cpu")


def test_rates_are_of_a_machine():
    assert matmul_rate(CPU, torch.float32, side=256) > 1e8
    assert copy_rate(CPU) > 1e7


def test_the_dtype_of_the_cpu_is_one_of_two():
    assert faster_dtype(CPU) in (torch.bfloat16, torch.float32)


def test_the_peak_sees_what_is_gone_by_then():
    reset_peak(CPU)
    before = peak_bytes(CPU)
    if before is None:
        pytest.skip("this system does not say")
    block = torch.ones(200_000_000, dtype=torch.uint8)
    del block
    after = peak_bytes(CPU)
    assert after - before > 150_000_000
    reset_peak(CPU)
    assert peak_bytes(CPU) < after - 100_000_000
    assert "VmHWM" in PEAK_KINDS["cpu"]


def test_seconds_only_grow():
    first = seconds(CPU)
    assert seconds(CPU) >= first
