"""PLLaVA (arXiv 2404.16994), which transformers has no class for: LLaVA-NeXT-Video's, pooled as PLLaVA does.

PLLaVA is LLaVA-1.6 on 16 frames, pooled to 12 x 12 tokens each *after* the projector; LLaVA-NeXT-Video pools
before it. Written from the paper, and tested on tiny checkpoints in the published layout: the published
weights have not been run. Facts, sources, and what to check with them: docs/pllava.md.
"""

import json
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlavaNextImageProcessor,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    LlavaNextVideoProcessor,
    LlavaNextVideoVideoProcessor,
)

from sharpv.errors import InputError

__all__ = ["is_pllava", "load_pllava"]

FRAMES = 16
POOLING_SHAPE = "pooling_shape"
AGAIN = "download the whole folder again"
KEPT_FROM_CONFIG = ("projector_hidden_act", "vision_feature_layer", "vision_feature_select_strategy")
PEFT, BASE, LORA = "base_model.model.", ".base_layer", (".lora_A.default", ".lora_B.default")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if message['role'] == 'assistant' %}ASSISTANT: {{ part['text'] }}</s>"
    "{% else %}{{ 'USER: ' if message['role'] == 'user' }}"
    "{{ part['text'] if part['type'] == 'text' else '<image>\n' }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


class _Pooling(nn.Module):
    """The mean over each cell of a grid of 16 frames and half of each side: 16 x 12 x 12 at 336 pixels."""

    def forward(self, projected: Tensor) -> Tensor:
        """Takes whole videos, `[videos * 16, patches, d]`; returns a quarter of the patches."""
        if len(projected) % FRAMES:
            raise InputError(f"got {len(projected)} frames or images; PLLaVA reads videos of {FRAMES} frames")
        side = isqrt(projected.shape[1])
        videos = projected.unflatten(1, (side, side)).unflatten(0, (-1, FRAMES)).permute(0, 4, 1, 2, 3)
        pooled = adaptive_avg_pool3d(videos, (FRAMES, side // 2, side // 2))
        return pooled.permute(0, 2, 3, 4, 1).flatten(2, 3).flatten(0, 1)


class _Processor(LlavaNextVideoProcessor):
    def replace_video_token(self, video_inputs: dict[str, Any], video_idx: int = 0, **kwargs: Any) -> str:
        frames = len(video_inputs["pixel_values_videos"][video_idx])
        if frames != FRAMES:
            raise InputError(f"got {frames} frames; PLLaVA reads {FRAMES} (`sharpv ask --frames {FRAMES}`)")
        return super().replace_video_token(video_inputs, video_idx, **kwargs)


def is_pllava(folder: str | Path) -> bool:
    """Whether a folder holds a PLLaVA: its configuration says how to pool, whatever its `model_type`."""
    config = Path(folder) / "config.json"
    return config.is_file() and f'"{POOLING_SHAPE}"' in config.read_text()


def load_pllava(
    folder: str | Path, *, lora_alpha: float = 4.0, dtype: str | torch.dtype = "auto"
) -> tuple[LlavaNextVideoForConditionalGeneration, LlavaNextVideoProcessor]:
    """Loads a checkpoint of PLLaVA's authors, such as a download of `ermu2001/pllava-7b`.

    Args:
        folder: a whole checkpoint. Beside the layers of its LLM lies their LoRA, which is merged here:
            `W + lora_alpha / r * B A`.
        lora_alpha: strength of the LoRA, which the checkpoint does not say: 4 in the authors' scripts for
            evaluation, 32 in their configuration for training.
        dtype: of the model; "auto" is the checkpoint's own.

    Returns:
        The model in evaluation mode, and its processor, with the prompt of Vicuna (7B, 13B). Where the
        tokenizer is for ChatML (34B), the processor has no chat template yet.

    Raises:
        InputError: no PLLaVA is there, or its tensors are not those of the model: missing, left over, or of
            another shape.
    """
    folder = Path(folder)
    if not is_pllava(folder):
        raise InputError(
            f"got {str(folder)!r}, where no config.json has a PLLaVA's 'pooling_shape': give the folder of a "
            "download, such as `hf download ermu2001/pllava-7b --local-dir pllava-7b`"
        )
    try:
        config = _config(json.loads((folder / "config.json").read_text()))
        processor = _processor(folder, config.vision_config.patch_size)
        generation_config = GenerationConfig.from_pretrained(folder)
        tensors = {k: v for file in sorted(folder.glob("*.safetensors")) for k, v in load_file(file).items()}
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        lacks = "config.json lacks " if isinstance(error, KeyError) else ""
        reason = lacks + str(error).strip().split("\n")[0]
        raise InputError(f"cannot read {str(folder)!r}: {reason}; {AGAIN}") from error
    model = _build(config, _merge(tensors, lora_alpha), dtype)
    model.generation_config = generation_config
    return model, processor


def _processor(folder: Path, patch_size: int) -> LlavaNextVideoProcessor:
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    processor = _Processor(
        LlavaNextVideoVideoProcessor.from_pretrained(folder),
        LlavaNextImageProcessor(),
        tokenizer,
        chat_template=None if "<|im_start|>" in tokenizer.get_vocab() else CHAT_TEMPLATE,
        patch_size=patch_size,
        video_token="<image>",
    )
    # The only placeholder stands for videos: without a name for images, none are looked for in its place.
    processor.image_token = processor.image_token_id = None
    return processor


def _config(stored: dict[str, Any]) -> LlavaNextVideoConfig:
    """Returns the configuration for transformers' class. What PLLaVA calls an image stands for a video."""
    shape, method = stored[POOLING_SHAPE], stored.get("pooling_method", "avg")
    if (shape, method) != ([FRAMES, 12, 12], "avg"):
        raise InputError(
            f"got a PLLaVA with pooling_shape={shape} and pooling_method={method!r}; only [16, 12, 12] by "
            "'avg' is known, as in the published checkpoints: give one of these"
        )
    token = stored.get("image_token_index", 32000)
    return LlavaNextVideoConfig(
        text_config={"model_type": "llama"} | stored["text_config"],
        vision_config={"model_type": "clip_vision_model"} | stored["vision_config"],
        image_token_index=token,
        video_token_index=token,
        **{name: stored[name] for name in KEPT_FROM_CONFIG if name in stored},
    )


def _merge(stored: dict[str, Tensor], lora_alpha: float) -> dict[str, Tensor]:
    """Returns the tensors as a LLaVA-1.6 has them: the LoRA merged, the names without its traces."""
    merged = {}
    for name, tensor in stored.items():
        if BASE in name:
            down, up = (stored.get(name.replace(BASE, part), torch.empty(0, 0)) for part in LORA)
            if (len(up), down.shape[1]) != tensor.shape or up.shape[1] != len(down):
                raise InputError(
                    f"got a LoRA of A {list(down.shape)} and B {list(up.shape)} for {name!r} "
                    f"{list(tensor.shape)}: they must be [r, in] and [out, r]; {AGAIN}"
                )
            update = lora_alpha / len(down) * (up.float() @ down.float())
            merged[name.replace(PEFT, "", 1).replace(BASE, "")] = (tensor.float() + update).to(tensor.dtype)
        elif not any(name.replace(part, BASE) in stored for part in LORA if part in name):
            merged[name.replace(PEFT, "", 1)] = tensor
    return merged


def _build(
    config: LlavaNextVideoConfig, tensors: dict[str, Tensor], dtype: str | torch.dtype
) -> LlavaNextVideoForConditionalGeneration:
    """Returns the model with exactly these tensors."""
    # PLLaVA has none, and nothing but images would read it.
    tensors.setdefault("image_newline", torch.zeros(config.text_config.hidden_size))
    model, found = LlavaNextVideoForConditionalGeneration.from_pretrained(
        None,
        config=config,
        state_dict=tensors,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    shapes = [f"{name} {list(got)}, not {list(wanted)}" for name, got, wanted in found["mismatched_keys"]]
    wrong = {"missing": found["missing_keys"], "left over": found["unexpected_keys"], "misshapen": shapes}
    if any(wrong.values()):
        told = "; ".join(f"{len(names)} {how} ({min(names)})" for how, names in wrong.items() if names)
        raise InputError(f"got tensors that are not those of the configuration: {told}; {AGAIN}")
    model.model.multi_modal_projector = nn.Sequential(model.model.multi_modal_projector, _Pooling())
    model.model.vision_resampler = nn.Identity()
    # A saved copy must not load as a LLaVA-NeXT-Video: transformers refuses a mode that it does not know.
    model.config.spatial_pool_mode = "pllava"
    return model
