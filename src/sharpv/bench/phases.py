"""One request with a clip, phase by phase: the input side once, then the LLM's side per way of pruning."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from sharpv.bench.clock import seconds, watch_peak
from sharpv.bench.encode_once import encoded_as, features_only
from sharpv.bench.parts import encode_in_parts
from sharpv.bench.reuse import reusing
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.hf.attach import Session
from sharpv.hf.cache import CACHE, cache_bytes
from sharpv.hf.families import require_family
from sharpv.hf.reuse.encoder import Reuse
from sharpv.report import ReuseReport, VideoReport
from sharpv.video import Sampling, Video, read_video

__all__ = [
    "ENCODER_PHASES",
    "INPUT_PHASES",
    "LLM_PHASES",
    "InputSide",
    "LlmSide",
    "Prepared",
    "encode",
    "prepare",
    "preprocess",
    "read_clip",
    "run_input_side",
    "run_llm_side",
]

ENCODER_PHASES = ("vision_tower", "projector")
INPUT_PHASES = ("read", "preprocess", *ENCODER_PHASES)
LLM_PHASES = ("scoring", "prefill", "rest")
"""The phases up to the first token; `rest` is embedding, the head and all else that `generate()` does."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A clip as the vision tower takes it.

    Attributes:
        inputs: of the model, on its device.
        ms: milliseconds of reading and preprocessing.
        peak_bytes: the most memory in use meanwhile.
    """

    inputs: dict[str, Any]
    ms: dict[str, float | None]
    peak_bytes: int | None


@dataclass(frozen=True, slots=True)
class InputSide:
    """What every way of pruning has in common.

    Attributes:
        inputs: of the model, on its device.
        encoded: output of the encoder of videos.
        ms: milliseconds of each of `INPUT_PHASES`; the projector's is None where it cannot be told apart.
        peak_bytes: the most memory in use meanwhile.
        reuse: of each video, what of it was encoded; empty without reuse.
    """

    inputs: dict[str, Any]
    encoded: Any
    ms: dict[str, float | None]
    peak_bytes: int | None
    reuse: tuple[ReuseReport, ...] = ()


@dataclass(frozen=True, slots=True)
class LlmSide:
    """One `generate()`, its videos encoded before.

    Attributes:
        ms: milliseconds of each of `LLM_PHASES`, and `per_token`, the mean of the tokens after the first;
            None when there is only one.
        kv_bytes: bytes of the storage of keys and values right after the prefill.
        peak_bytes: the most memory in use meanwhile.
        videos: what was kept; empty for the dense model.
    """

    ms: dict[str, float | None]
    kv_bytes: int
    peak_bytes: int | None
    videos: tuple[VideoReport, ...]


def read_clip(path: str, frames: int) -> Video:
    """Reads evenly spread frames of a clip.

    Raises:
        InputError: the clip has fewer.
        VideoError: the clip cannot be read.
    """
    video = read_video(path, Sampling(frames=frames))
    if len(video.frames) < frames:
        raise InputError(
            f"got a clip of {len(video.frames)} frames for --frames {frames}: give a longer clip, or ask for "
            "fewer frames"
        )
    return video


def preprocess(loaded: VideoModel, video: Video, questions: tuple[str, ...]) -> dict[str, Any]:
    """Returns the inputs of a batch of questions about one clip, on the model's device, in its dtype."""
    inputs = build_inputs(loaded.processor, video, *questions)
    return dict(inputs.to(loaded.model.device, loaded.model.dtype))


def run_input_side(loaded: VideoModel, path: str, frames: int, questions: tuple[str, ...]) -> InputSide:
    """Reads a clip, preprocesses it for a batch of questions about it, and encodes it for each.

    Args:
        loaded: the model.
        path: of the clip, which is read and decoded once.
        frames: to read.
        questions: one per row of the batch; each row's copy of the clip is preprocessed and encoded.
    """
    return encode(loaded, prepare(loaded, path, frames, questions))


def prepare(loaded: VideoModel, path: str, frames: int, questions: tuple[str, ...]) -> Prepared:
    """Reads a clip, and preprocesses it for a batch of questions about it; see `run_input_side`."""
    device = loaded.model.device
    peak = watch_peak(device)
    start = seconds(device)
    video = read_clip(path, frames)
    read = seconds(device)
    inputs = preprocess(loaded, video, questions)
    ms: dict[str, float | None] = {
        "read": (read - start) * 1e3,
        "preprocess": (seconds(device) - read) * 1e3,
    }
    return Prepared(inputs, ms, peak())


@torch.no_grad()
def encode(loaded: VideoModel, given: Prepared, reuse: Reuse | None = None) -> InputSide:
    """Encodes the clip of each row.

    Args:
        loaded: the model.
        given: the request.
        reuse: what spares the vision tower patches, whose planning counts as the tower's time; None encodes
            all of them.
    """
    model, family = loaded.model, require_family(loaded.model.config.model_type)
    device = model.device
    peak = watch_peak(device)
    with reusing(model, given.inputs, reuse):
        encoded = encode_in_parts(model.base_model, family, given.inputs, lambda: seconds(device) * 1e3)
    ms = {**given.ms, "vision_tower": encoded.tower, "projector": encoded.projector}
    peaks = (given.peak_bytes, peak())
    videos = () if reuse is None else tuple(video.report() for video in reuse.videos)
    return InputSide(
        given.inputs,
        features_only(encoded.output),
        ms,
        None if None in peaks else max(each or 0 for each in peaks),
        videos,
    )


class _Marks:
    """When a `generate()` enters and leaves the decoder's first pass, and has each of its tokens."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.entered: float | None = None
        self.left: float | None = None
        self.kv_bytes = 0
        self.tokens: list[float] = []

    def enter(self, decoder: Any, args: Any, kwargs: Any) -> None:
        if self.entered is None:
            self.entered = seconds(self.device)

    def leave(self, decoder: Any, args: Any, kwargs: Any, output: Any) -> None:
        if self.left is None:
            self.left = seconds(self.device)
            self.kv_bytes = cache_bytes(output[CACHE])

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Takes the place of a stopping criterion, which is asked after each token."""
        self.tokens.append(seconds(self.device))
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _touch(features: Any) -> None:
    """Reads features, which a vision tower has just written where it runs in the request.

    What nobody has read during a long prefill may have been taken out of the memory by the system.
    """
    for video in tree_leaves(features):
        video.sum()


def run_llm_side(
    loaded: VideoModel,
    given: InputSide,
    new_tokens: int,
    attached: Callable[[], AbstractContextManager[Session | None]],
) -> LlmSide:
    """Generates from a request whose videos are encoded already.

    Args:
        loaded: the model.
        given: the request.
        new_tokens: tokens to generate, the end of the answer ignored.
        attached: makes the session to generate under; it is not timed.
    """
    model, device = loaded.model, loaded.model.device
    marks, decoder = _Marks(device), model.get_decoder()
    with encoded_as(model, given.inputs, given.encoded), attached() as session:
        hooks = [
            decoder.register_forward_pre_hook(marks.enter, with_kwargs=True, prepend=True),
            decoder.register_forward_hook(marks.leave, with_kwargs=True),
        ]
        try:
            _touch(given.encoded.pooler_output)
            peak = watch_peak(device)
            start = seconds(device)
            _generate(model, given.inputs, new_tokens, marks)
            peak_bytes = peak()
        finally:
            for hook in hooks:
                hook.remove()
        report = None if session is None else session.reports[-1]
    assert marks.entered is not None
    assert marks.left is not None
    first, last = marks.tokens[0], marks.tokens[-1]
    scoring = 0.0 if report is None else report.milliseconds.scoring or 0.0
    prefill = (marks.left - marks.entered) * 1e3
    ms: dict[str, float | None] = {
        "scoring": scoring,
        "prefill": prefill,
        "rest": (first - start) * 1e3 - scoring - prefill,
        "per_token": (last - first) * 1e3 / (new_tokens - 1) if new_tokens > 1 else None,
    }
    return LlmSide(ms, marks.kv_bytes, peak_bytes, () if report is None else report.videos)


def _generate(model: Any, inputs: Mapping[str, Any], new_tokens: int, marks: _Marks) -> None:
    model.generate(
        **inputs,
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
        stopping_criteria=[marks],
    )
