"""Published model sizes with random weights: for measuring time and memory, where answers do not matter."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel, ProcessorMixin
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.initialization import no_init_weights

from sharpv.errors import InputError
from sharpv.tiny.random import RANDOM_MODELS

__all__ = ["SHAPES", "ModelShape", "build_shape", "fill"]

FILL_STD = 0.02
# A prime, so that rows of a weight do not repeat each other.
FILL_PERIOD = 1_048_583


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The dimensions of a released model.

    Attributes:
        family: its `model_type`.
        source: checkpoint whose config.json has these dimensions.
        text: fields of the LLM's configuration.
        vision: fields of the vision tower's configuration.
        image_size: what the random model of the family takes as such, for its processor.
    """

    family: str
    source: str
    text: dict[str, Any]
    vision: dict[str, Any]
    image_size: int

    @property
    def layers(self) -> int:
        """Decoder layers of the LLM."""
        return int(self.text["num_hidden_layers"])


SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 384,
    "vision_use_head": False,
}
QWEN2 = {
    "model_type": "qwen2",
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
    "rms_norm_eps": 1e-6,
}
QWEN2_5_TOWER = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "tokens_per_second": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
QWEN2_5 = {
    "max_position_embeddings": 128000,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    "rms_norm_eps": 1e-6,
}
# Pixels of a frame of the Qwen2.5 line are limited far above those of the clips here.
QWEN_SIDE = 3584

SHAPES = {
    "llava-onevision-0.5b": ModelShape(
        family="llava_onevision",
        source="llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        text={
            **QWEN2,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "vocab_size": 152000,
            "tie_word_embeddings": True,
        },
        vision=SIGLIP,
        image_size=384,
    ),
    "llava-onevision-7b": ModelShape(
        family="llava_onevision",
        source="llava-hf/llava-onevision-qwen2-7b-ov-hf",
        text={
            **QWEN2,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152128,
        },
        vision=SIGLIP,
        image_size=384,
    ),
    "qwen2.5-vl-3b": ModelShape(
        family="qwen2_5_vl",
        source="Qwen/Qwen2.5-VL-3B-Instruct",
        text={
            **QWEN2_5,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        vision={**QWEN2_5_TOWER, "out_hidden_size": 2048},
        image_size=QWEN_SIDE,
    ),
    "qwen2.5-vl-7b": ModelShape(
        family="qwen2_5_vl",
        source="Qwen/Qwen2.5-VL-7B-Instruct",
        text={
            **QWEN2_5,
            "hidden_size": 3584,
            "intermediate_size": 18944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152064,
        },
        vision={**QWEN2_5_TOWER, "out_hidden_size": 3584},
        image_size=QWEN_SIDE,
    ),
    "qwen3-vl-4b": ModelShape(
        family="qwen3_vl",
        source="Qwen/Qwen3-VL-4B-Instruct",
        text={
            "hidden_size": 2560,
            "intermediate_size": 9728,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
            "max_position_embeddings": 262144,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5e6,
                "mrope_section": [24, 20, 20],
                "mrope_interleaved": True,
            },
        },
        vision={
            "depth": 24,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_heads": 16,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": 2560,
            "num_position_embeddings": 2304,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        image_size=1774,  # 8 frames of this side are the 25 million pixels that the release allows a clip
    ),
}
"""Shapes by name. The dimensions are those of the `config.json` of `source`, as its authors published it."""


def build_shape(
    name: str,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    layers: int | None = None,
) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Builds a model of a published size with random weights, and a processor; downloads nothing.

    Vocabulary and weights have the published sizes. The tokenizer knows only bytes, so that a prompt has more
    tokens of text than with the released one; the number of video tokens is the released model's.

    Args:
        name: one of `SHAPES`.
        dtype: of the weights.
        device: where to build it; on "meta" it has shapes and no weights.
        layers: build only the first so many decoder layers of the LLM; None builds all. The vision tower
            stays whole.

    Raises:
        InputError: no shape of that name, or not so many layers.
    """
    if name not in SHAPES:
        raise InputError(
            f"got shape {name!r}: it must be one of {', '.join(SHAPES)}; a model of your own goes to -m"
        )
    shape = SHAPES[name]
    layers = shape.layers if layers is None else layers
    if not 1 <= layers <= shape.layers:
        raise InputError(f"got {layers} layers of shape {name!r}: it must be 1 to {shape.layers}")
    text = {**shape.text, "num_hidden_layers": layers}
    tiny, processor = RANDOM_MODELS[shape.family](image_size=shape.image_size)
    patch = shape.vision["patch_size"]
    if shape.family == "llava_onevision":
        # As it was released; the class's own default is CLIP's.
        for part in (processor.video_processor, processor.image_processor):
            part.image_mean, part.image_std = list(IMAGENET_STANDARD_MEAN), list(IMAGENET_STANDARD_STD)
    if shape.family == "qwen3_vl":
        processor.video_processor.patch_size = processor.image_processor.patch_size = patch
    tokens = {
        key: value for key, value in tiny.config.to_dict().items() if key.endswith(("_token_id", "_index"))
    }
    ends = ("bos_token_id", "eos_token_id", "pad_token_id")
    config = type(tiny.config)(
        vision_config=shape.vision,
        text_config={**text, **{key: getattr(tiny.config.text_config, key) for key in ends}},
        tie_word_embeddings=shape.text.get("tie_word_embeddings", False),
        **tokens,
    )
    with no_init_weights(), torch.device(device):
        model = transformers.AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()
        model.tie_weights()
    if torch.device(device).type != "meta":
        fill(model)
    model.generation_config.pad_token_id = tiny.generation_config.pad_token_id
    model.generation_config.eos_token_id = tiny.generation_config.eos_token_id
    return model, processor


@torch.no_grad()
def fill(model: nn.Module, seed: int = 0) -> None:
    """Fills weights with normal noise of standard deviation 0.02, which is drawn once and repeated.

    Scales of norms become 1, biases 0. A billion weights take seconds, and no second copy.

    Args:
        model: whose weights may be uninitialised; all on one device.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    like = next(model.parameters())
    noise = (torch.randn(FILL_PERIOD, generator=generator) * FILL_STD).to(like)
    for name, weight in model.named_parameters():
        if weight.dim() == 1:
            weight.fill_(float(name.endswith("weight")))
            continue
        for part in weight.view(-1).split(FILL_PERIOD):
            part.copy_(noise[: len(part)])
