"""Toy checkpoints that vLLM can load: `python tests/engines/vllm/checkpoints.py OUT` writes all of them.

Random weights of the real classes, about 1 MB each: answers are noise, prompts and positions are real. With
`--load` it writes one of 94 MB instead, whose LLM takes more time than its vision tower.
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

LARGE = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 64,
}
"""The LLM under load; its tower has 2 layers of 32."""

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
        text.rope_parameters = {**text.rope_parameters, "mrope_section": [4, 6, 6]}
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


def write_for_load(folder: Path) -> Path:
    """Writes the Qwen2.5-VL of the table "Under load" in docs/vllm.md into `folder`, and returns its path."""
    model, processor = RANDOM_MODELS["qwen2_5_vl"](image_size=224)
    text = model.config.text_config
    for name, value in LARGE.items():
        setattr(text, name, value)
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [8, 12, 12]}
    text.layer_types = ["full_attention"] * text.num_hidden_layers
    model.config.vision_config.out_hidden_size = text.hidden_size
    torch.manual_seed(0)
    type(model)(model.config).float().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _rename_tower(path: Path) -> None:
    """Gives the SigLIP tower the names of the released checkpoints, which vLLM reads."""
    tower = "vision_tower."
    tensors = {
        name.replace(tower, f"{tower}vision_model."): tensor for name, tensor in load_file(path).items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


if __name__ == "__main__":
    folder, *load = sys.argv[1:]
    written = [write_for_load(Path(folder))] if load else [write(name, Path(folder)) for name in FAMILIES]
    sys.stdout.writelines(f"{path}\n" for path in written)
