"""Toy checkpoints that vLLM can load: `python tests/engines/vllm/checkpoints.py OUT` writes all of them.

Random weights of the real classes, about 1 MB each: answers are noise, prompts and positions are real.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from sharpv.tiny.random import RANDOM_MODELS

FAMILIES = ("llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")
IMAGE_SIZE = 112
"""Pixels: a frame has 4 x 4 tokens, and with the Qwens a token covers two frames."""

HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
"""vLLM's attention on the CPU takes no heads of 16 channels, which the random models have."""

SPREAD = 0.08
"""Wider than the usual weights, so that features of different patches differ."""


def write(family: str, folder: Path) -> Path:
    """Writes one checkpoint into `folder / family`, unless it is there, and returns its path."""
    target = folder / family
    if (target / "config.json").exists():
        return target
    model, processor = RANDOM_MODELS[family](image_size=IMAGE_SIZE)
    text = model.config.text_config
    for name, value in HEADS.items():
        setattr(text, name, value)
    if "mrope_section" in text.rope_parameters:
        text.rope_parameters["mrope_section"] = [4, 6, 6]
    if family == "qwen3_vl":
        text.rope_parameters["mrope_interleaved"] = True
        # vLLM normalises videos as the image processor says; in the released models the two agree.
        processor.image_processor.image_mean = processor.video_processor.image_mean
        processor.image_processor.image_std = processor.video_processor.image_std
    torch.manual_seed(0)
    model = type(model)(model.config).float().eval()
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            torch.nn.init.normal_(parameter, std=SPREAD)
    model.save_pretrained(target)
    processor.save_pretrained(target)
    if family == "llava_onevision":
        _rename_tower(target / "model.safetensors")
    return target


def _rename_tower(path: Path) -> None:
    """Gives the SigLIP tower the names of the released checkpoints, which vLLM reads."""
    tower = "vision_tower."
    tensors = {
        name.replace(tower, f"{tower}vision_model."): tensor for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    for name in FAMILIES:
        sys.stdout.write(f"{write(name, Path(sys.argv[1]))}\n")
