"""Writes tiny random PLLaVA checkpoints in the published layout; docs/pllava.md has the sources."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPImageProcessor, GenerationConfig, PreTrainedTokenizerFast

from sharpv.tiny.random.llava import llava_next_video

Tensors = dict[str, torch.Tensor]
FRAMES, RANK = 16, 8
LLM = "language_model.base_model.model."


def published(tensors: Tensors) -> Tensors:
    """Tensors of a LLaVA-NeXT-Video under the names of a published PLLaVA, with a random LoRA."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.")
        name = name.replace("vision_tower.", "vision_tower.vision_model.")
        name = name.replace("language_model.", f"{LLM}model.").replace("lm_head.", f"{LLM}lm_head.")
        layer = name.removesuffix(".weight")
        if name.startswith(LLM) and layer.endswith(("q_proj", "v_proj")):
            rows, columns = tensor.shape
            renamed[f"{layer}.base_layer.weight"] = tensor
            renamed[f"{layer}.lora_A.default.weight"] = torch.randn(RANK, columns)
            renamed[f"{layer}.lora_B.default.weight"] = torch.randn(rows, RANK)
        elif name != "image_newline":
            renamed[name] = tensor
    return renamed


def write(folder: Path, tensors: Tensors) -> None:
    """Saves tensors in three shards, with their index."""
    names = sorted(tensors)
    index = {}
    for shard in range(3):
        file = f"model-{shard + 1:05}-of-00003.safetensors"
        save_file({name: tensors[name] for name in names[shard::3]}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names[shard::3], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def stored(folder: Path) -> Tensors:
    return {name: part for file in folder.glob("*.safetensors") for name, part in load_file(file).items()}


def byte_tokenizer(*special: str) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes; the last special token is for padding."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=special[-1], padding_side="right")


def build(folder: Path, pixels: int) -> Any:
    """Writes a folder as published, and returns the LLaVA-NeXT-Video whose weights are in it."""
    twin, _ = llava_next_video(image_size=pixels)
    tokenizer = byte_tokenizer("<image>", "</s>", "<pad>")
    torch.manual_seed(0)
    write(folder, published(twin.state_dict()))
    config = {
        "architectures": ["PllavaForConditionalGeneration"],
        "model_type": "llava",
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "pooling_shape": [16, 12, 12],
        "num_frames": FRAMES,
        "text_config": twin.config.text_config.to_dict(),
        "vision_config": twin.config.vision_config.to_dict(),
    }
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    crop = {"height": pixels, "width": pixels}
    CLIPImageProcessor(size={"shortest_edge": pixels}, crop_size=crop).save_pretrained(folder)
    GenerationConfig(pad_token_id=tokenizer.pad_token_id).save_pretrained(folder)
    return twin
