"""`generate()` of an attached model: the prompt is shortened, and the caller gets back what it knows."""

import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from sharpv.errors import InputError
from sharpv.hf.cache import CACHE, count_cut_columns, pruned_layers, require_prunable
from sharpv.hf.inputs import FEATURES_WITHOUT_PIXELS, PrunedFeatures, shorten
from sharpv.hf.layout import video_placeholders
from sharpv.hf.request import Request
from sharpv.hf.stage1 import keep_all, place
from sharpv.hf.stopwatch import Stopwatch
from sharpv.methods import InLLMPruner, TokenPruner

if TYPE_CHECKING:
    from sharpv.hf.attach import Session

__all__ = ["wrap_generate"]

DYNAMIC = (None, "dynamic", "hybrid")
"""Values of `cache_implementation` for which transformers makes a dynamic cache."""

DRAFTING = ("prompt_lookup_num_tokens", "assistant_early_exit", "use_mtp")
"""Options that make decoding assisted, beside `assistant_model`."""

ALONG_THE_PASS = ("input_ids", "position_ids", "token_type_ids", "mm_token_type_ids")


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
        if "past_key_values" in call:
            call[CACHE] = call.pop("past_key_values")
        _refuse_drafts(session, call)
        _refuse_options(session, call)
        _refuse_cache(session, call)
        session.take()
        try:
            pruner, fresh = session.pruner, session.video_pixels(call) is not None and _fresh(call)
            if session.config.prunes and fresh and not isinstance(pruner, InLLMPruner):
                return _generate_shortened(session, pruner, original, call)
            return _generate_whole(session, original, call)
        finally:
            session.release()

    return generate


def _fresh(call: Mapping[str, Any]) -> bool:
    """Returns whether the prompt stands alone: nothing is cached, and the caller did not embed it."""
    cache = call.get(CACHE)
    return (cache is None or cache.get_seq_length() == 0) and call.get("inputs_embeds") is None


def _refuse_drafts(session: "Session", call: Mapping[str, Any]) -> None:
    """Refuses assisted decoding that would fail half-way, or answer something else."""
    if call.get("assistant_model") is session.model:
        raise InputError(
            "got the attached model as its own assistant_model; a session serves one request at a time: pass "
            "another model, or prompt_lookup_num_tokens"
        )
    if not _assisted(session, call):
        return
    cache = call.get(CACHE)
    later = cache is not None and cache.get_seq_length() > 0
    prunes = session.config.prunes and session.video_pixels(call) is not None
    if (later and prunes) or any(layer.pruned for layer in pruned_layers(cache)):
        raise InputError(
            "got assisted decoding with a video on a cache that holds an earlier turn; transformers would "
            "feed it the whole conversation again: leave assistant_model and prompt_lookup_num_tokens out"
        )
    if _prunes_inside(session, call):
        for name in ("output_attentions", "output_hidden_states"):
            if _option(session, call, name):
                raise InputError(
                    f"got {name} with assisted decoding and stage 2 or a method that acts inside the LLM, "
                    "with which prompt and drafts are read in two passes: leave it out, or set "
                    "memory_threshold=None and take another method"
                )


def _assisted(session: "Session", call: Mapping[str, Any]) -> bool:
    return call.get("assistant_model") is not None or any(_option(session, call, name) for name in DRAFTING)


def _prunes_inside(session: "Session", call: Mapping[str, Any]) -> bool:
    """Returns whether columns of a video leave while the LLM reads it."""
    leaves = isinstance(session.pruner, InLLMPruner) and session.config.prunes_tokens
    if (session.config.memory_threshold is None and not leaves) or session.family.stage_1_only:
        return False
    return session.video_pixels(call) is not None or session.encoded_video(call) is not None


@contextmanager
def _drafts_read_apart(model: PreTrainedModel, width: int) -> Iterator[None]:
    """Has a prompt of `width` columns read alone, and the first drafts after it.

    Stage 2 drops columns when a layer has run: in the pass of the video, drafts would still see all of it.
    And a method may ask which tokens the last one of the prompt looks at.
    """
    forward, callers_forward = model.forward, vars(model).get("forward")

    @functools.wraps(forward)
    def apart(*args: Any, **kwargs: Any) -> Any:
        drafts = kwargs["input_ids"].shape[1] - width if kwargs.get("mm_encoder_outputs") else 0
        if drafts < 1:
            return forward(*args, **kwargs)
        along = {name: kwargs[name] for name in ALONG_THE_PASS if kwargs.get(name) is not None}
        prompt = kwargs | {name: value[..., :width] for name, value in along.items()}
        later = kwargs | {name: value[..., width:] for name, value in along.items()}
        if kwargs.get("attention_mask") is not None:
            prompt["attention_mask"] = kwargs["attention_mask"][:, :width]
        first = forward(*args, **prompt)
        del later["mm_encoder_outputs"]
        output = forward(*args, **later | {CACHE: first[CACHE]})
        output["logits"] = torch.cat([first.logits[:, -1:], output.logits], dim=1)
        return output

    model.forward = apart
    try:
        yield
    finally:
        del model.forward
        if callers_forward is not None:
            model.forward = callers_forward


def _refuse_options(session: "Session", call: Mapping[str, Any]) -> None:
    """Refuses options that a prompt with video cannot follow, before anything is encoded."""
    video = session.video_pixels(call) is not None or call.get("mm_encoder_outputs")
    if not video or not session.config.prunes:
        return
    if _option(session, call, "prefill_chunk_size") is not None:
        raise InputError(
            "got prefill_chunk_size with a video; an attached SharpV decides on whole prompts, and makes "
            "them short: leave it unset, or detach and shorten the prompt with sharpv.prune_inputs"
        )
    if session.family.stage_1_only:
        return
    kind, cache = _option(session, call, "cache_implementation"), call.get(CACHE)
    if kind not in DYNAMIC:
        raise InputError(
            f"got cache_implementation={kind!r} with a video; an attached SharpV prunes a dynamic cache: "
            "leave it unset, or detach and shorten the prompt with sharpv.prune_inputs"
        )
    if cache is not None:
        require_prunable(cache)


def _refuse_cache(session: "Session", call: Mapping[str, Any]) -> None:
    reason = session.family.stage_1_only
    if reason and session.config.prunes_tokens and not _fresh(call):
        raise InputError(
            f"got a prompt that goes on from a cache or from embeddings, which SharpV cannot shorten, since "
            f"{reason}: pass the whole conversation as input_ids, without {CACHE}"
        )


def _generate_shortened(session: "Session", pruner: TokenPruner, original: Any, call: dict[str, Any]) -> Any:
    """Runs a request whose prompt is shortened before the model."""
    shortened = shorten(session.model, session.family, call, session.config, pruner, session.reuse)
    removed = shortened.keep.shape[1] - shortened.inputs["input_ids"].shape[1]
    request = Request(
        shortened.watch,
        expected_tokens=_feature_count(session.encoded_video(shortened.inputs)),
        shortened=True,
        hidden_columns=removed,
        prompt_tokens=shortened.prompt_tokens,
        prompt_tokens_kept=shortened.prompt_tokens_kept,
        videos=shortened.videos,
    )
    inputs = {**shortened.inputs, **_shorter_limits(session, call, removed)}
    output = _run(session, request, original, inputs)
    if session.family.stage_1_only and not isinstance(output, Tensor):
        # It counts the shortened prompt: a later turn with the original ids would read other tokens.
        output[CACHE] = None
    lag = None
    if session.config.positions == "compact":
        cut = torch.tensor(shortened.prompt_tokens) - torch.tensor(shortened.prompt_tokens_kept)
        lag = cut[:, None]
    count_cut_columns(request.cache, shortened.keep, lag)
    return _restore_prompt(output, call["input_ids"], inputs["input_ids"].shape[1])


def _generate_whole(session: "Session", original: Any, call: dict[str, Any]) -> Any:
    """Runs a request whose prompt reaches the decoder whole.

    Where it holds a video, the hooks shorten it there, unless both stages are off.
    """
    request = Request(Stopwatch(session.model))
    base, family = session.model.base_model, session.family
    encoded = session.encoded_video(call)
    if session.video_pixels(call) is not None:
        input_ids = _uncached(call, call.get("input_ids"))
        visual = video_placeholders(base, family.placeholder, input_ids, call.get("inputs_embeds"))
        counts = visual.sum(1).tolist()
        request.layouts = family.layouts(call, base, counts)
        session.expect(request.layouts)
        if not session.config.prunes:
            request.videos = keep_all(place(request.layouts, counts)[0])
    elif encoded is not None:
        request.expected_tokens = _feature_count(encoded)
        request.shortened = isinstance(call["mm_encoder_outputs"], PrunedFeatures)
        if not request.shortened and session.config.prunes_tokens:
            raise InputError(FEATURES_WITHOUT_PIXELS)
    else:
        request.notes.append(_nothing_to_prune(session, call))
    if not session.config.prunes or (request.layouts is None and encoded is None):
        request.prompt_tokens = request.prompt_tokens_kept = _prompt_tokens(call)
    return _run(session, request, original, call)


def _prompt_tokens(call: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the new tokens of each row, padding left out; none for a prompt that the caller embedded."""
    fed, input_ids = (_uncached(call, call.get(name)) for name in ("attention_mask", "input_ids"))
    if fed is None:
        return () if input_ids is None else (input_ids.shape[1],) * len(input_ids)
    return tuple(fed.sum(1).tolist())


def _nothing_to_prune(session: "Session", call: Mapping[str, Any]) -> str:
    note, family = "no video in the request: nothing to prune", session.family
    if family.modality == "image" and call.get(family.pixels) is not None:
        note += f"; {family.name} is shown a video as images, which images_as_frames=True takes them for"
    return note


def _run(session: "Session", request: Request, original: Any, inputs: dict[str, Any]) -> Any:
    session.open(request)
    drafted = _assisted(session, inputs) and _prunes_inside(session, inputs) and "input_ids" in inputs
    with _drafts_read_apart(session.model, inputs["input_ids"].shape[1]) if drafted else nullcontext():
        output = original(**inputs)
    request.watch.lap("decode")
    session.close(request)
    return output


def _feature_count(encoded: Any) -> int:
    pooled = encoded.pooler_output
    return pooled.shape[:-1].numel() if isinstance(pooled, Tensor) else sum(map(len, pooled))


def _uncached(call: Mapping[str, Any], columns: Tensor | None) -> Tensor | None:
    """Returns the columns `[B, L]` of a prompt that its cache does not hold, as `generate()` cuts them."""
    cache, mask = call.get(CACHE), call.get("attention_mask")
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
