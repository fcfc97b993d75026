"""Where a figure was measured: device, versions, commit."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from sharpv._compat import versions

__all__ = ["where"]


def where(device: str) -> dict[str, Any]:
    """Returns the device and its name, the CPU's threads, the versions, and the commit of a checkout."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else _processor()
    return {
        "device": device,
        "device_name": name,
        "threads": torch.get_num_threads(),
        "versions": dict(versions()),
        "python": platform.python_version(),
        "commit": _commit(),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """Returns the commit of the checkout that tracks this file, with a + if files differ; else None."""
    git = ["git", "-C", str(Path(__file__).parent)]
    describe = ["describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": True, "timeout": 10}
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], **options)
        return str(subprocess.run([*git, *describe], **options).stdout).strip()
    except (OSError, subprocess.SubprocessError):
        return None
