"""What the machine can do at best, and the clock and the memory that figures are read from."""

from mmap import mmap

import pytest
import torch

from sharpv.bench import clock
from sharpv.bench.ceilings import copy_rate, faster_dtype, matmul_rate
from sharpv.bench.clock import PEAK_KINDS, seconds, watch_peak

CPU = torch.device("cpu")


def test_rates_are_of_a_machine():
    assert matmul_rate(CPU, torch.float32, side=256) > 1e8
    assert copy_rate(CPU) > 1e7


def test_the_dtype_of_the_cpu_is_one_of_two():
    assert faster_dtype(CPU) in (torch.bfloat16, torch.float32)


def use_and_give_back(size: int) -> None:
    """Holds memory that is surely new, and surely gone afterwards: allocators may keep what was freed."""
    with mmap(-1, size) as block:
        block.write(b"1" * size)


def test_the_peak_sees_what_is_gone_by_then():
    peak = watch_peak(CPU)
    before = peak()
    if before is None:
        pytest.skip("this system does not let a process watch its peak")
    use_and_give_back(200_000_000)
    after = peak()
    assert after - before > 150_000_000
    assert watch_peak(CPU)() < after - 100_000_000
    assert "VmHWM" in PEAK_KINDS["cpu"]


@pytest.mark.parametrize("answer", ["refuses", "says yes and does nothing"])
def test_there_is_no_peak_where_it_cannot_be_watched(answer, tmp_path, monkeypatch):
    use_and_give_back(200_000_000)
    path = {"refuses": tmp_path, "says yes and does nothing": tmp_path / "file"}[answer]
    monkeypatch.setattr(clock, "CLEAR_REFS", path)
    assert watch_peak(CPU)() is None


def test_seconds_only_grow():
    first = seconds(CPU)
    assert seconds(CPU) >= first
