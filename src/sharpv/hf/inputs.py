"""The inputs seam: encode the video first, shorten the prompt, let an unmodified `generate()` run."""

import inspect
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel

from sharpv.config import SharpVConfig, with_retention
from sharpv.errors import InputError
from sharpv.hf.families import Family, family_for
from sharpv.hf.features import encode_video, flatten, rebuild, with_encoded_images
from sharpv.hf.layout import video_placeholders
from sharpv.hf.positions import compact, gather_columns, gather_positions, renumber, upload
from sharpv.hf.reuse.encoder import Reuse, reuse_for
from sharpv.hf.stage1 import keep_tokens, place
from sharpv.hf.stopwatch import Stopwatch
from sharpv.hf.tower_attention import attention_of, hear
from sharpv.hf.turns import changing
from sharpv.methods import InLLMPruner, TokenPruner, find_pruner, needs_attention
from sharpv.report import VideoReport

__all__ = [
    "FEATURES_WITHOUT_PIXELS",
    "PrunedFeatures",
    "Shortened",
    "prune_inputs",
    "shorten",
]

ALONG_THE_PROMPT = ("mm_token_type_ids", "token_type_ids")
IGNORED_LABEL = -100
FEATURES_WITHOUT_PIXELS = (
    "got video features without pixels, whose layout in frames is unknown: pass pixel_values_videos, or "
    "shorten the prompt with sharpv.prune_inputs first. An assistant_model is not shown the video: attach to "
    "the model that it assists"
)


class PrunedFeatures(dict):
    """The `mm_encoder_outputs` of a shortened prompt: a session sees by the type that stage 1 is done."""


@dataclass(frozen=True, slots=True)
class Shortened:
    """A prompt without the placeholders of dropped tokens.

    Attributes:
        inputs: what `generate()` takes instead of the original inputs.
        keep: bool `[B, L]` on the host, the columns of the original prompt that stayed.
        prompt_tokens: per row, tokens before, padding left out.
        prompt_tokens_kept: per row, tokens after.
        videos: what was kept of each video.
        watch: timed the phases `vision` and `scoring`.
    """

    inputs: dict[str, Any]
    keep: Tensor
    prompt_tokens: tuple[int, ...]
    prompt_tokens_kept: tuple[int, ...]
    videos: tuple[VideoReport, ...]
    watch: Stopwatch


def prune_inputs(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    config: SharpVConfig | None = None,
    *,
    method: str | TokenPruner | InLLMPruner = "sharpv",
    retention: float | Literal["adaptive"] | None = None,
) -> dict[str, Any]:
    """Encodes the videos of a request and shortens its prompt (stage 1), with nothing attached to the model.

    The result goes to `model.generate(**pruned)` or `model(**pruned)`, and works with any cache. Sequences
    that `generate()` returns start with the shortened prompt, `pruned["input_ids"]`. A decoding loop of your
    own must pass position ids that go on from `pruned["position_ids"][..., -1:] + 1`. The vision tower runs
    without gradients. Threads may prune for one model at once; with `vision_reuse`, or a method that looks at
    the vision tower's attention, they take turns.

    Args:
        model: a supported transformers model.
        inputs: what its processor returned: `input_ids [B, L]`, `attention_mask`, `pixel_values_videos`, ...
        config: what to keep; `memory_threshold` has no effect here. The default is the paper's automatic
            mode.
        method: what chooses the tokens, as for `sharpv.attach`; one that acts before the LLM.
        retention: takes the place of `config.retention`.

    Returns:
        New inputs, without pixels. Ragged rows are padded on the left; so is a single prompt of a 1-D RoPE
        model, by one column, since without padding the gaps in its position ids could be taken for packed
        prompts. A request without video is returned as it is.

    Raises:
        UnsupportedModelError: a model of an unknown family, or `vision_reuse` for one whose vision tower
            reuses no patches.
        InputError: an unknown method, one that acts inside the LLM, one that cannot follow the configuration,
            or one that needs the attention of a vision tower that is not read or that reuses patches; inputs
            that do not add up, or features that are not finite; and by `generate()`, when its
            beams have used the result up: prune the inputs again for another call.
        ValueError: a retention outside its range, or beside a threshold.
    """
    config = with_retention(config, retention)
    family, pruner = family_for(model, config), find_pruner(method)
    if isinstance(pruner, InLLMPruner):
        raise InputError(
            f"method {pruner.name!r} acts inside the LLM, which all visual tokens enter, so there is nothing "
            f"to shorten before it: use sharpv.attach(model, config, method={pruner.name!r})"
        )
    pruner.check(config)
    if family.video_pixels(inputs, config) is None:
        return dict(inputs)
    reuse = reuse_for(model.base_model, family, config, pruner)
    with ExitStack() as covers:
        if reuse is not None or needs_attention(pruner):
            covers.enter_context(changing(model.base_model))
            covers.enter_context(hear(model.base_model, family) if reuse is None else reuse.covering())
        shortened = shorten(model, family, inputs, config, pruner, reuse)
    gapped = config.positions == "original" and not family.mrope and not bool(shortened.keep.all())
    padded = min(shortened.prompt_tokens_kept) < shortened.inputs["input_ids"].shape[1]
    if gapped and not padded:
        return _with_padding_column(model, shortened.inputs)
    return shortened.inputs


@torch.no_grad()
def shorten(
    model: PreTrainedModel,
    family: Family,
    inputs: Mapping[str, Any],
    config: SharpVConfig,
    pruner: TokenPruner,
    reuse: Reuse | None,
) -> Shortened:
    """Does the work of `prune_inputs` on inputs with video.

    The caller has covered the encoder, by what hears attention if the pruner needs it, or by `reuse`.
    """
    base, input_ids = model.base_model, _prompt(inputs)
    attention_mask = _attention_mask(model, inputs)
    visual = video_placeholders(base, family.placeholder, input_ids).cpu()
    counts = visual.sum(1).tolist()
    layouts = family.layouts(inputs, base, counts)
    placed, _ = place(layouts, counts)
    if reuse is not None:
        reuse.expect(layouts)
    watch = Stopwatch(model)
    inputs = with_encoded_images(model, family, inputs)
    encoded, consumed = encode_video(base, family, inputs)
    features = flatten(encoded, sum(counts))
    watch.lap("vision")
    attention = attention_of(encoded)
    keep_features, features, videos = keep_tokens(features, placed, 1, config, pruner, attention)
    keep = ~visual
    keep[visual] = keep_features
    keep &= attention_mask
    index, real = (upload(columns, input_ids.device) for columns in compact(keep))
    others = inputs.get("mm_encoder_outputs") or {}
    shorter = {
        **{name: value for name, value in inputs.items() if name not in consumed},
        **_cut(model, inputs, index, real),
        "position_ids": _positions(model, inputs, attention_mask, index, real, config),
        "mm_encoder_outputs": PrunedFeatures(
            {**others, family.modality: rebuild(encoded, features, keep_features)}
        ),
    }
    watch.lap("scoring")
    before, after = (tuple(columns.sum(1).tolist()) for columns in (attention_mask, keep))
    return Shortened(shorter, keep, before, after, videos, watch)


def _cut(model: PreTrainedModel, inputs: Mapping[str, Any], index: Tensor, real: Tensor) -> dict[str, Tensor]:
    """Returns what stands along the prompt, at the columns that stay."""
    padding = model.generation_config.pad_token_id or 0
    cut = {
        "input_ids": gather_columns(inputs["input_ids"], index).masked_fill(~real, padding),
        "attention_mask": real.long(),
    }
    for name in ALONG_THE_PROMPT:
        if inputs.get(name) is not None:
            cut[name] = gather_columns(inputs[name], index).masked_fill(~real, 0)
    if inputs.get("labels") is not None:
        # Nothing predicts the first token of a row, also where padding stands before it.
        first = real.cumsum(1) == 1
        labels = gather_columns(inputs["labels"], index)
        cut["labels"] = labels.masked_fill(~real | first, IGNORED_LABEL)
    return cut


def _prompt(inputs: Mapping[str, Any]) -> Tensor:
    input_ids = inputs.get("input_ids")
    if not isinstance(input_ids, Tensor) or input_ids.dim() != 2:
        got = (
            "none"
            if input_ids is None
            else f"{type(input_ids).__name__} {list(getattr(input_ids, 'shape', []))}"
        )
        raise InputError(
            f"got input_ids {got}; a prompt with video needs a tensor [batch, length]: call the processor "
            "with return_tensors='pt'"
        )
    return input_ids


def _attention_mask(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Tensor:
    """Returns what is no padding, bool `[B, L]` on the host."""
    input_ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    if mask is None:
        padding, end = model.generation_config.pad_token_id, model.generation_config.eos_token_id
        ends = end if isinstance(end, list) else [end]
        if padding is not None and padding not in ends and bool((input_ids == padding).any()):
            raise InputError(
                "got padded prompts without attention_mask: pass the one that the processor returned"
            )
        return torch.ones(input_ids.shape, dtype=torch.bool)
    if mask.shape != input_ids.shape:
        raise InputError(
            f"got attention_mask {list(mask.shape)} for input_ids {list(input_ids.shape)}: they must be the "
            "same shape"
        )
    return mask.bool().cpu()


def _positions(
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
    attention_mask: Tensor,
    index: Tensor,
    real: Tensor,
    config: SharpVConfig,
) -> Tensor:
    """Returns the position ids of the shortened prompt, made from those of the whole one."""
    position_ids = inputs.get("position_ids")
    if position_ids is None:
        accepted = inspect.signature(model.forward).parameters
        whole = {name: value for name, value in inputs.items() if name in accepted}
        whole["attention_mask"] = upload(attention_mask.long(), index.device)
        position_ids = model._prepare_position_ids_for_generation(inputs["input_ids"], whole)
    position_ids = gather_positions(position_ids, index)
    if config.positions == "compact":
        return renumber(position_ids, real)
    if position_ids.dim() == 3 and len(position_ids) == 4:
        # The first axis counts tokens of text and decides only whether a prompt is taken for packed
        # sequences.
        position_ids[0] = renumber(torch.zeros_like(index), real)
    return position_ids


def _with_padding_column(model: PreTrainedModel, inputs: dict[str, Any]) -> dict[str, Any]:
    """Pads a prompt on the left, so that its mask has a zero and is not taken for no mask at all.

    Without a mask, FlashAttention and models without a cache read gaps in position ids as the borders between
    packed prompts.
    """
    fills = {"input_ids": model.generation_config.pad_token_id or 0, "labels": IGNORED_LABEL}
    along = ("input_ids", "attention_mask", "position_ids", "labels", *ALONG_THE_PROMPT)
    padded = {name: pad(inputs[name], (1, 0), value=fills.get(name, 0)) for name in along if name in inputs}
    return {**inputs, **padded}
