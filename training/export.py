"""Writes a checkpoint as a Hugging Face folder: `python -m training.export runs/a/drop.pt FOLDER`."""

import argparse
from pathlib import Path

import torch

from training.model import Sizes, build_model, build_processor

__all__ = ["export"]


def export(checkpoint: Path, folder: Path, sizes: Sizes | None = None) -> None:
    """Writes weights in bfloat16, tokenizer, processor and chat template.

    Args:
        checkpoint: of a stage from "watch" on.
        folder: where to; made if it is not there.
        sizes: of the checkpoint; None for the model in the box.

    Raises:
        ValueError: the stage has not ended.
    """
    sizes = sizes or Sizes()
    processor = build_processor(sizes)
    model = build_model(sizes, processor.tokenizer)
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if saved["step"] != saved["steps"]:
        raise ValueError(f"{checkpoint} is at step {saved['step']} of {saved['steps']}: let its stage end")
    modules = saved["modules"].items()
    weights = {name.removeprefix("model."): value for name, value in modules if name.startswith("model.")}
    model.load_state_dict(weights)
    model.to(torch.bfloat16).save_pretrained(folder)
    # A private file would stay private in the package.
    (folder / "model.safetensors").chmod(0o644)
    processor.save_pretrained(folder)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    export(options.checkpoint, options.folder)


if __name__ == "__main__":
    main()
