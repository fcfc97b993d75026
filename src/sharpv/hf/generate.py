"""`generate()` of an attached model: the prompt is shortened, and the caller gets back what it knows."""

import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sharpv.errors import InputError
from sharpv.hf.cache import count_cut_columns
from sharpv.hf.inputs import FEATURES_WITHOUT_PIXELS, PrunedFeatures, shorten
from sharpv.hf.layout import video_placeholders
from sharpv.hf.request import Request

if TYPE_CHECKING:
    from sharpv.hf.attach import Session

__all__ = ["wrap_generate"]


def wrap_generate(session: "Session") -> Callable[..., Any]:
    """Returns the `generate` that covers the model's own while the session is attached."""
    original = session.model.generate

    @functools.wraps(original)
    def generate(*args: Any, **kwargs: Any) -> Any:
        if not session.attached:
            return original(*args, **kwargs)
        call = inspect.signature(original).bind_partial(*args, **kwargs).arguments
        call = {**call.pop("kwargs", {}), **call}
        if isinstance(call.get("inputs"), Tensor):
            call["input_ids"] = call.pop("inputs")
        _refuse_chunks(session, call)
        _refuse_cache(session, call)
        session.take()
        try:
            if session.video_pixels(call) is not None and _fresh(call):
                return _generate_shortened(session, original, call)
            return _generate_whole(session, original, call)
        finally:
            session.release()

    return generate


def _fresh(call: Mapping[str, Any]) -> bool:
    """Returns whether the prompt stands alone: nothing is cached, and the caller did not embed it."""
    cache = call.get("past_key_values")
    return (cache is None or cache.get_seq_length() == 0) and call.get("inputs_embeds") is None


def _refuse_chunks(session: "Session", call: Mapping[str, Any]) -> None:
    video = session.video_pixels(call) is not None or call.get("mm_encoder_outputs")
    if video and session.config.prunes and _option(session, call, "prefill_chunk_size") is not None:
        raise InputError(
            "got prefill_chunk_size with a video; an attached SharpV decides on whole prompts, and makes "
            "them short: leave it unset"
        )


def _refuse_cache(session: "Session", call: Mapping[str, Any]) -> None:
    reason = session.family.stage_1_only
    if reason and session.config.prunes_tokens and not _fresh(call):
        raise InputError(
            f"got a prompt that goes on from a cache or from embeddings, which SharpV cannot shorten, since "
            f"{reason}: pass the whole conversation as input_ids, without past_key_values"
        )


def _generate_shortened(session: "Session", original: Any, call: dict[str, Any]) -> Any:
    """Runs a request whose prompt is shortened before the model."""
    shortened = shorten(session.model, session.family, call, session.config, session.pruner)
    removed = shortened.keep.shape[1] - shortened.inputs["input_ids"].shape[1]
    request = Request(
        session.stopwatch(),
        expected_tokens=_feature_count(session.encoded_video(shortened.inputs)),
        shortened=True,
        hidden_columns=removed,
        prompt_tokens=shortened.prompt_tokens,
        prompt_tokens_kept=shortened.prompt_tokens_kept,
        videos=shortened.videos,
        milliseconds=dict(shortened.milliseconds),
    )
    inputs = {**shortened.inputs, **_shorter_limits(session, call, removed)}
    output = _run(session, request, original, inputs)
    if session.family.stage_1_only and not isinstance(output, Tensor):
        # It counts the shortened prompt: a later turn with the original ids would read other tokens.
        output["past_key_values"] = None
    lag = None
    if session.config.positions == "compact":
        cut = torch.tensor(shortened.prompt_tokens) - torch.tensor(shortened.prompt_tokens_kept)
        lag = cut[:, None]
    count_cut_columns(request.cache, shortened.keep, lag)
    return _restore_prompt(output, call["input_ids"], inputs["input_ids"].shape[1])


def _generate_whole(session: "Session", original: Any, call: dict[str, Any]) -> Any:
    """Runs a request whose prompt reaches the decoder whole, where the hooks shorten it if it holds video."""
    request = Request(session.stopwatch())
    base, family = session.model.base_model, session.family
    encoded = session.encoded_video(call)
    if session.video_pixels(call) is not None:
        input_ids = _uncached(call, call.get("input_ids"))
        visual = video_placeholders(base, family.placeholder, input_ids, call.get("inputs_embeds"))
        request.layouts = family.layout(call, base, visual.sum(1).tolist(), family.separators)
    elif encoded is not None:
        request.expected_tokens = _feature_count(encoded)
        request.shortened = isinstance(call["mm_encoder_outputs"], PrunedFeatures)
        if not request.shortened and session.config.prunes_tokens:
            raise InputError(FEATURES_WITHOUT_PIXELS)
    else:
        request.notes.append(_nothing_to_prune(session, call))
        fed = _uncached(call, call.get("attention_mask"))
        if fed is not None:
            request.prompt_tokens = request.prompt_tokens_kept = tuple(fed.sum(1).tolist())
    return _run(session, request, original, call)


def _nothing_to_prune(session: "Session", call: Mapping[str, Any]) -> str:
    note, family = "no video in the request: nothing to prune", session.family
    if family.modality == "image" and call.get(family.pixels) is not None:
        note += f"; {family.name} is shown a video as images, which images_as_frames=True takes them for"
    return note


def _run(session: "Session", request: Request, original: Any, inputs: dict[str, Any]) -> Any:
    session.open(request)
    output = original(**inputs)
    request.milliseconds["decode"] = request.watch.lap()
    session.close(request)
    return output


def _feature_count(encoded: Any) -> int:
    pooled = encoded.pooler_output
    return pooled.shape[:-1].numel() if isinstance(pooled, Tensor) else sum(map(len, pooled))


def _uncached(call: Mapping[str, Any], columns: Tensor | None) -> Tensor | None:
    """Returns the columns `[B, L]` of a prompt that its cache does not hold, as `generate()` cuts them."""
    cache, mask = call.get("past_key_values"), call.get("attention_mask")
    if columns is None or cache is None or (mask is not None and mask.shape[1] != columns.shape[1]):
        return columns
    return columns[:, cache.get_seq_length() :]


def _option(session: "Session", call: Mapping[str, Any], name: str) -> Any:
    """Returns what holds of a generation option: of the call, of its configuration, or of the model's."""
    configs = (call.get("generation_config"), session.model.generation_config)
    values = [call.get(name), *(getattr(config, name, None) for config in configs)]
    return next((value for value in values if value is not None), None)


def _shorter_limits(session: "Session", call: Mapping[str, Any], removed: int) -> dict[str, Any]:
    """Returns the options that limit the length of the whole sequence, for one with a shorter prompt."""
    limits = {}
    for total, new in (("max_length", "max_new_tokens"), ("min_length", "min_new_tokens")):
        limit = _option(session, call, total)
        if limit is not None and _option(session, call, new) is None:
            limits[total] = max(limit - removed, 0)
    given = call.get("generation_config")
    if given is None or not limits:
        return limits
    shorter = copy.deepcopy(given)
    shorter.update(**limits)
    return {"generation_config": shorter, **{name: limits[name] for name in limits if name in call}}


def _restore_prompt(output: Any, prompt: Tensor, width: int) -> Any:
    """Puts the caller's prompt back, so that `output[:, input_length:]` holds the new tokens."""
    sequences = output if isinstance(output, Tensor) else output.sequences
    prompt = prompt.to(sequences.device).repeat_interleave(len(sequences) // len(prompt), dim=0)
    sequences = torch.cat([prompt, sequences[:, width:]], dim=1)
    if isinstance(output, Tensor):
        return sequences
    output["sequences"] = sequences
    return output
