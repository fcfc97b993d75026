"""What the machine can do at best, and the clock and the memory that figures are read from."""

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


def test_the_peak_sees_what_is_gone_by_then():
    peak = watch_peak(CPU)
    before = peak()
    if before is None:
        pytest.skip("this system does not let a process watch its peak")
    block = torch.ones(200_000_000, dtype=torch.uint8)
    del block
    after = peak()
    assert after - before > 150_000_000
    assert watch_peak(CPU)() < after - 100_000_000
    assert "VmHWM" in PEAK_KINDS["cpu"]


@pytest.mark.parametrize("answer", ["refuses", "says yes and does nothing"])
def test_there_is_no_peak_where_it_cannot_be_watched(answer, tmp_path, monkeypatch):
    block = torch.ones(200_000_000, dtype=torch.uint8)
    del block
    path = {"refuses": tmp_path, "says yes and does nothing": tmp_path / "file"}[answer]
    monkeypatch.setattr(clock, "CLEAR_REFS", path)
    assert watch_peak(CPU)() is None


def test_seconds_only_grow():
    first = seconds(CPU)
    assert seconds(CPU) >= first
