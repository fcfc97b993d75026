"""What can be said of a model and a request before anything is timed, and what the machine can do at best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sharpv.bench.ceilings import copy_rate, matmul_rate
from sharpv.bench.flops import llm_flops, on_meta, paper_formula, vision_flops
from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.parts import tower_and_projector
from sharpv.hf.ask import VideoModel
from sharpv.hf.families import require_family
from sharpv.hf.layout import VideoLayout, video_placeholders

__all__ = ["describe", "describe_model", "layout_and_prompt", "prompt_flops"]


def describe(loaded: VideoModel, spec: LatencySpec, inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns the static card of a run.

    Args:
        loaded: the model.
        spec: of the run.
        inputs: of the request, from `preprocess`.

    Returns:
        `model` and `kv_bytes_per_token` as `describe_model` has them, `request` (rows, frames and tokens per
        frame as the LLM sees them, tokens of a prompt, of these of video), `flops` by part for the whole
        batch, dense and, where the budget is known before, pruned; and `ceilings`. What cannot be counted for
        a family is None.
    """
    model, family = loaded.model, require_family(loaded.model.config.model_type)
    layout, prompt = layout_and_prompt(model, inputs)
    twin = on_meta(model)
    budget = spec.budget(spec.methods[0], layout.frames, layout.tokens_per_frame)
    pruned = None if budget is None else prompt - layout.frames * layout.tokens_per_frame + budget
    tower, projector = _counted(vision_flops, twin, family, inputs) or (None, None)
    return {
        **describe_model(loaded),
        "request": {
            "batch": spec.batch,
            "frames": layout.frames,
            "tokens_per_frame": layout.tokens_per_frame,
            "prompt_tokens": prompt,
            "video_tokens": layout.tokens,
        },
        "flops": {
            "vision_tower": tower,
            "projector": projector,
            "dense": prompt_flops(twin, spec.batch, prompt),
            "pruned": None if pruned is None else prompt_flops(twin, spec.batch, pruned),
        },
        "ceilings": {
            "matmul_flops_per_second": matmul_rate(model.device, model.dtype),
            "copy_bytes_per_second": copy_rate(model.device),
        },
    }


def describe_model(loaded: VideoModel) -> dict[str, Any]:
    """Returns what can be said without a request.

    Returns:
        `model` (name, family, dtype, decoder layers built and of the whole model, bytes of weights,
        parameters by part, attention), and `kv_bytes_per_token` of all layers.
    """
    model = loaded.model
    layers = model.config.get_text_config().num_hidden_layers
    return {
        "model": {
            "name": Path(loaded.name).name if Path(loaded.name).is_dir() else loaded.name,
            "family": model.config.model_type,
            "dtype": str(model.dtype).removeprefix("torch."),
            "layers": [layers, loaded.whole_layers or layers],
            "weight_bytes": sum(_bytes(weight) for weight in model.parameters()),
            "parameters": _parameters(model),
            "attention": getattr(model.config, "_attn_implementation", None),
        },
        "kv_bytes_per_token": _kv_bytes_per_token(model),
    }


def prompt_flops(twin: Any, batch: int, tokens: int) -> dict[str, int | None]:
    """Returns the operations for prompts of so many tokens: `prefill`, `decode_step`, `formula`.

    The formula is that of `paper_formula`, in its own unit, for all rows.

    Args:
        twin: the model, from `on_meta`.
        batch: rows.
        tokens: of each row.
    """
    prefill, step = _counted(llm_flops, twin, batch, tokens) or (None, None)
    return {
        "tokens": tokens,
        "prefill": prefill,
        "decode_step": step,
        "formula": batch * paper_formula(twin.config.get_text_config(), tokens),
    }


def _counted(count: Any, *args: Any) -> Any:
    """Returns None where a family asks its numbers for data, which the count does without."""
    try:
        return count(*args)
    except (RuntimeError, NotImplementedError):
        return None


def layout_and_prompt(model: Any, inputs: dict[str, Any]) -> tuple[VideoLayout, int]:
    """Returns how the first row's video is laid out, and the tokens of the row."""
    family = require_family(model.config.model_type)
    visual = video_placeholders(model.base_model, family.placeholder, inputs["input_ids"])
    layouts = family.layouts(inputs, model.base_model, visual.sum(1).tolist())
    return layouts[0], int(inputs["attention_mask"][0].sum())


def _parameters(model: Any) -> dict[str, int]:
    """Returns the parameters by part, a weight that two parts share counted once."""
    tower, projector = tower_and_projector(model.base_model)
    counts = {
        "vision_tower": _count(tower) - sum(_count([part]) for part in projector if _within(part, tower)),
        "projector": _count(projector),
        "total": _count([model]),
    }
    return counts | {"llm": counts["total"] - counts["vision_tower"] - counts["projector"]}


def _within(part: nn.Module, towers: Sequence[nn.Module]) -> bool:
    return any(part is inner for tower in towers for inner in tower.modules())


def _count(parts: Sequence[nn.Module]) -> int:
    return sum(weight.numel() for part in parts for weight in part.parameters())


def _bytes(weight: torch.Tensor) -> int:
    return weight.numel() * weight.element_size()


def _kv_bytes_per_token(model: Any) -> int:
    """Returns the bytes that a token's keys and values take in all layers that hold some."""
    text = model.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    layers = getattr(text, "layer_types", None) or ["full_attention"] * text.num_hidden_layers
    holding = sum(layer != "linear_attention" for layer in layers)
    return 2 * holding * heads * width * torch.empty(0, dtype=model.dtype).element_size()
