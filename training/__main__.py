"""Trains the model in the box from scratch: `python -m training --out runs/a --seed 0`."""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.multiprocessing as mp

from training.export import export
from training.stages import differences, settings, train_process

SHIPPED = {"refine": "dense", "drop": "default"}
"""The stages whose checkpoints are exported, and the folders that they go to."""


def main() -> None:
    """Reads the command line and starts the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of checkpoints and log; resumes from it"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--processes", type=int, default=1 if torch.cuda.is_available() else min(2, os.cpu_count() or 1)
    )
    options = parser.parse_args()
    gpus = torch.cuda.device_count()
    if gpus and options.processes > gpus:
        parser.error(f"--processes {options.processes}: each needs a GPU of its own, and here are {gpus}")
    options.out.mkdir(parents=True, exist_ok=True)
    mine, path = settings(options.processes, options.seed), options.out / "settings.json"
    theirs = json.loads(path.read_text()) if path.exists() else mine
    if other := differences(mine, theirs):
        parser.error(
            f"{options.out} holds a run with another {', '.join(other)}: give another --out, or go on with "
            "what began it"
        )
    path.write_text(json.dumps(mine))
    (options.out / "rendezvous").unlink(missing_ok=True)
    # glibc hands large blocks back at once, and taking them again costs more than the arithmetic.
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**33), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = (options.processes, options.out, options.seed)
    mp.start_processes(train_process, arguments, options.processes, daemon=True, start_method="spawn")
    for stage, name in SHIPPED.items():
        export(options.out / f"{stage}.pt", options.out / name)


if __name__ == "__main__":
    main()
