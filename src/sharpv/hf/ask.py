"""From a question about a clip to an answer: loading a model, building the prompt, generating."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedModel,
    ProcessorMixin,
)

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.attach import attach
from sharpv.hf.families import require_family
from sharpv.report import Report
from sharpv.tiny.random_model import llava_onevision
from sharpv.video import Video

__all__ = [
    "DTYPES",
    "Answer",
    "VideoModel",
    "ask",
    "build_inputs",
    "find_device",
    "load_model",
    "load_random_model",
]

DTYPES = ("auto", "float32", "bfloat16", "float16")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class VideoModel:
    """A video LLM and its processor.

    Attributes:
        name: directory or hub id that it came from.
        model: in evaluation mode, on its device.
        processor: with a chat template.
    """

    name: str
    model: PreTrainedModel
    processor: ProcessorMixin


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what it cost.

    Attributes:
        text: without special tokens.
        report: of the request.
    """

    text: str
    report: Report


def load_model(name: str, dtype: str = "auto", device: str | None = None) -> VideoModel:
    """Loads a supported model.

    Args:
        name: a directory, or a hub id `owner/name`.
        dtype: one of `DTYPES`; "auto" is the checkpoint's own.
        device: for example "cpu" or "cuda:0"; None takes CUDA where there is one.

    Raises:
        InputError: nothing that can be loaded is there, or no such device.
        UnsupportedModelError: a model of an unknown family; found before any weights are read.
    """
    if not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise InputError(
            f"cannot find a model at {name!r}: give a directory with a config.json, or a hub id owner/name"
        )
    target = find_device(device)
    try:
        require_family(AutoConfig.from_pretrained(name).model_type)
        processor = AutoProcessor.from_pretrained(name)
        model = AutoModelForImageTextToText.from_pretrained(name, dtype=_dtype(dtype))
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(
            f"cannot load a model from {name!r}: {reason}; give a directory with a whole model, or a hub id "
            "that can be reached"
        ) from error
    if not processor.chat_template:
        raise InputError(f"the processor of {name!r} has no chat template: save one beside the model")
    return VideoModel(name, model.to(target).eval(), processor)


def load_random_model(dtype: str = "auto", device: str | None = None) -> VideoModel:
    """Builds the tiny LLaVA-OneVision with random weights, whose answers are noise.

    Args:
        dtype: one of `DTYPES`; "auto" is float32.
        device: as for `load_model`.
    """
    model, processor = llava_onevision()
    kind = _dtype(dtype)
    model = model.to(find_device(device), torch.float32 if isinstance(kind, str) else kind)
    return VideoModel("random weights", model, processor)


def ask(
    loaded: VideoModel, video: Video, question: str, config: SharpVConfig, max_new_tokens: int = 64
) -> Answer:
    """Asks a model about a clip, greedily decoded.

    Args:
        loaded: the model.
        video: frames of the clip.
        question: in the user's words.
        config: what to keep; `retention=1.0, memory_threshold=None` is the dense model.
        max_new_tokens: the most tokens of the answer.

    Raises:
        InputError: the clip or its features cannot be used.
    """
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, video, question).to(model.device, model.dtype)
    with attach(model, config) as session:
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        report = session.reports[-1]
    new = output[0, inputs["input_ids"].shape[1] :]
    return Answer(processor.tokenizer.decode(new, skip_special_tokens=True).strip(), report)


def build_inputs(processor: ProcessorMixin, video: Video, question: str) -> Any:
    """Returns what a processor makes of one question about one clip, with the model's own chat template.

    Raises:
        InputError: the question holds the tokens that stand for pictures, or the processor refuses the clip.
    """
    media = [getattr(processor, name, None) for name in ("video_token", "image_token")]
    if any(token and token in question for token in media):
        raise InputError(
            f"got {question!r}, which holds one of the model's tokens for pictures "
            f"({', '.join(filter(None, media))}): leave them out of the question"
        )
    content = [{"type": "video"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    height, width = video.frames.shape[1:3]
    metadata = {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.duration,
        "frames_indices": video.indices.tolist(),
        "height": height,
        "width": width,
    }
    try:
        return processor(
            text=[prompt],
            videos=[video.frames],
            video_metadata=[metadata],
            do_sample_frames=False,
            return_tensors="pt",
        )
    except ValueError as error:
        raise InputError(
            f"the model's processor refuses {len(video.frames)} frames of {width} x {height} pixels: "
            f"{error}; give a clip of another shape"
        ) from error


def _dtype(name: str) -> torch.dtype | str:
    if name not in DTYPES:
        raise InputError(f"got dtype {name!r}: it must be one of {', '.join(DTYPES)}")
    return name if name == "auto" else getattr(torch, name)


def find_device(name: str | None) -> torch.device:
    """Returns the device of a name; None takes CUDA where there is one.

    Raises:
        InputError: there is no such device.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"cannot use device {name!r}: {reason}") from error
