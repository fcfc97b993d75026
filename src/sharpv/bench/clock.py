"""Time and memory of what has really been done: the queue of the device is waited for."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

__all__ = ["PEAK_KINDS", "free_bytes", "seconds", "wait", "watch_peak"]

PEAK_KINDS = {
    "cuda": "torch.cuda.max_memory_allocated",
    "cpu": "peak resident set of the process (VmHWM)",
}
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
CLEAR_PEAK = "5"
SETTLED = 1.01


def wait(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device) -> float:
    """Returns a reading of the wall clock, with the queue of the device done."""
    wait(device)
    return time.perf_counter()


def watch_peak(device: torch.device) -> Callable[[], int | None]:
    """Starts watching the most memory in use; `PEAK_KINDS` says of what.

    On a CPU the weights and everything else that the process holds are among it, and memory that was freed
    may still count.

    Returns:
        what gives the bytes so far, or None where the system does not say. A container may refuse to begin
        anew, or say yes and do nothing: on a CPU it has begun only where the peak is down to what is in use.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device)
    try:
        CLEAR_REFS.write_text(CLEAR_PEAK)
    except OSError:
        return lambda: None
    peak, used = _bytes(STATUS, "VmHWM"), _bytes(STATUS, "VmRSS")
    if peak is None or used is None or peak > SETTLED * used:
        return lambda: None
    return lambda: _bytes(STATUS, "VmHWM")


def free_bytes(device: torch.device) -> int | None:
    """Returns the bytes that a device has left; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return _bytes(MEMORY, "MemAvailable")


def _bytes(path: Path, field: str) -> int | None:
    """Returns the bytes of a line like 'VmRSS:  1024 kB'."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return kilobytes[0] * 1024 if kilobytes else None
