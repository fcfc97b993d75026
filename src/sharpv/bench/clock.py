"""Time and memory of what has really been done: the queue of the device is waited for."""

import time
from pathlib import Path

import torch

__all__ = ["PEAK_KINDS", "free_bytes", "peak_bytes", "reset_peak", "seconds", "wait"]

PEAK_KINDS = {
    "cuda": "torch.cuda.max_memory_allocated",
    "cpu": "peak resident set of the process (VmHWM)",
}
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
CLEAR_PEAK = "5"


def wait(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(device: torch.device) -> float:
    """Returns a reading of the wall clock, with the queue of the device done."""
    wait(device)
    return time.perf_counter()


def reset_peak(device: torch.device) -> None:
    """Starts watching the most memory in use, where that can be watched."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        CLEAR_REFS.write_text(CLEAR_PEAK)
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """Returns the most bytes in use since `reset_peak`; `PEAK_KINDS` says of what.

    On a CPU the weights and everything else that the process holds are among them, and memory that was freed
    may still count. None where the system does not say.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]
    return kilobytes[0] * 1024 if kilobytes else None


def free_bytes(device: torch.device) -> int | None:
    """Returns the bytes that a device has left; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = MEMORY.read_text().splitlines()
    except OSError:
        return None
    kilobytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return kilobytes[0] * 1024 if kilobytes else None
