"""From a question about a clip to an answer: loading a model, building the prompt, generating."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from transformers.utils import logging

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.attach import attach
from sharpv.hf.families import require_family, require_release
from sharpv.hf.geometry import with_windows
from sharpv.hf.pllava import POOLING_SHAPE, is_pllava, load_pllava
from sharpv.methods import InLLMPruner, TokenPruner
from sharpv.report import Report
from sharpv.tiny.load import DEFAULT_MODEL, TOY_PREFIX, toy_path
from sharpv.video import Video

__all__ = [
    "DEFAULT_MODEL",
    "DTYPES",
    "Answer",
    "VideoModel",
    "ask",
    "build_inputs",
    "check_text",
    "find_device",
    "load_model",
    "process",
    "unknown_words",
]

DTYPES = ("auto", "float32", "bfloat16", "float16")

SHOWN_CHARACTERS = 200

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


@dataclass(frozen=True, slots=True)
class VideoModel:
    """A video LLM and its processor.

    Attributes:
        name: directory, hub id or toy that it came from.
        model: in evaluation mode, on its device.
        processor: with a chat template.
        whole_layers: decoder layers of the size of which only the first were built; None for a whole model.
    """

    name: str
    model: PreTrainedModel
    processor: ProcessorMixin
    whole_layers: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what it cost.

    Attributes:
        text: without special tokens.
        report: of the request, which says where its tokens stand in the clip's frames.
    """

    text: str
    report: Report


def load_model(name: str = DEFAULT_MODEL, dtype: str = "auto", device: str | None = None) -> VideoModel:
    """Loads a supported model.

    Args:
        name: a directory, a hub id `owner/name`, or `toy:` and one of `sharpv.tiny.load.TOYS`.
        dtype: one of `DTYPES`; "auto" is the checkpoint's own.
        device: for example "cpu" or "cuda:0"; None takes CUDA where there is one.

    Raises:
        InputError: nothing that can be loaded is there, or no such device.
        UnsupportedModelError: a model of an unknown family; found before any weights are read.
    """
    source = _source(name)
    target = find_device(device)
    try:
        with _no_bars():
            model, processor = _from_pretrained(source, _dtype(dtype))
    except InputError:
        raise
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(
            f"cannot load a model from {name!r}: {reason}; give a directory with a whole model, or a hub id "
            "that can be reached"
        ) from error
    if not processor.chat_template:
        raise InputError(f"the processor of {name!r} has no chat template: save one beside the model")
    return VideoModel(name, model.to(target).eval(), processor)


def ask(
    loaded: VideoModel,
    video: Video,
    question: str,
    config: SharpVConfig,
    max_new_tokens: int = 64,
    method: str | TokenPruner | InLLMPruner = "sharpv",
) -> Answer:
    """Asks a model about a clip, greedily decoded.

    Args:
        loaded: the model.
        video: frames of the clip.
        question: in the user's words.
        config: what to keep; `retention=1.0, memory_threshold=None` is the dense model.
        max_new_tokens: the most tokens of the answer.
        method: what chooses the tokens, as for `attach`.

    Raises:
        InputError: the clip, its features or the method cannot be used.
    """
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, video, question).to(model.device, model.dtype)
    if require_family(model.config.model_type).modality == "image":
        config = replace(config, images_as_frames=True)  # there are no others here
    with attach(model, config, method=method) as session:
        output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        report = session.reports[-1]
    report = with_windows(report, model, processor, inputs, [video.frames.shape[1:3]])
    new = output[0, inputs["input_ids"].shape[1] :]
    return Answer(processor.tokenizer.decode(new, skip_special_tokens=True).strip(), report)


def build_inputs(processor: ProcessorMixin, video: Video | None, *questions: str) -> Any:
    """Returns what a processor makes of questions about one clip, with the model's own chat template.

    Each question is a row, a single turn with the whole clip; shorter prompts are padded on the left.

    Args:
        processor: with a chat template.
        video: the clip; None asks without one.
        questions: at least one.

    Raises:
        InputError: a question holds the tokens that stand for pictures, the tokenizer cannot pad several
            questions, or the processor refuses the clip.
    """
    check_text(processor, questions)
    if len(questions) > 1 and processor.tokenizer.pad_token is None:
        raise InputError(
            f"got {len(questions)} questions at once, but the tokenizer has no pad_token: set one, or ask "
            "them one by one"
        )
    media = [] if video is None else [{"type": "video"}]
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [*media, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for question in questions
    ]
    padded = {"padding": True, "padding_side": "left"} if len(questions) > 1 else {}
    return process(processor, prompts, [[] if video is None else [video]] * len(questions), **padded)


def check_text(processor: ProcessorMixin, texts: Sequence[str]) -> None:
    """Checks that a user's texts hold none of the tokens that stand for pictures.

    Raises:
        InputError: one does.
    """
    media = [getattr(processor, name, None) for name in ("video_token", "image_token")]
    for text in texts:
        if any(token and token in text for token in media):
            raise InputError(
                f"got {_shortened(text)!r}, which holds one of the model's tokens for pictures "
                f"({', '.join(filter(None, media))}): leave them out of the question"
            )


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def process(
    processor: ProcessorMixin, prompts: list[str], videos: Sequence[Sequence[Video]], **options: Any
) -> Any:
    """Returns what a processor makes of prompts and of the clips that stand in each.

    Args:
        processor: of the model.
        prompts: with the model's tokens where clips and images stand.
        videos: the clips of each prompt, in their order.
        options: what else the processor is given, such as `images`.

    Raises:
        InputError: the processor refuses the clips.
    """
    clips = [video for row in videos for video in row]
    if clips:
        # Row by row, since the processor of SmolVLM knows no flat list before transformers 5.23.
        options["videos"] = [[video.frames for video in row] for row in videos]
        options["video_metadata"] = [_metadata(video) for video in clips]
        options["do_sample_frames"] = False
    if hasattr(getattr(processor, "video_processor", None), "use_token_compression"):
        options["use_token_compression"] = False  # SharpV chooses the tokens
    try:
        return processor(text=prompts, return_tensors="pt", **options)
    except ValueError as error:
        if not clips:
            raise
        shapes = {video.frames.shape: None for video in clips}
        sizes = " and ".join(f"{n} frames of {width} x {height} pixels" for n, height, width, _ in shapes)
        raise InputError(
            f"the model's processor refuses {sizes}: {error}; give a clip of another shape"
        ) from error


def _metadata(video: Video) -> dict[str, Any]:
    """Returns what a processor is told of a clip."""
    height, width = video.frames.shape[1:3]
    return {
        "total_num_frames": video.total_frames,
        "fps": video.fps,
        "duration": video.duration,
        "frames_indices": video.indices.tolist(),
        "height": height,
        "width": width,
    }


def unknown_words(loaded: VideoModel, question: str) -> list[str]:
    """Returns the words of a question that the tokenizer has no token for, each once, signs left out."""
    tokenizer = loaded.processor.tokenizer
    tokens = tokenizer(question, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(tokens["input_ids"], tokens["offset_mapping"], strict=True)
    unknown: dict[str, str] = {}
    for token, (start, end) in spans:
        word = question[start:end]
        if token == tokenizer.unk_token_id and any(map(str.isalnum, word)):
            unknown.setdefault(word.lower(), word)
    return list(unknown.values())


def _from_pretrained(source: str, dtype: torch.dtype | str) -> tuple[PreTrainedModel, ProcessorMixin]:
    if is_pllava(source):
        return load_pllava(source, dtype=dtype)
    config = AutoConfig.from_pretrained(source)
    if hasattr(config, POOLING_SHAPE):
        raise InputError(
            f"got {source!r}, a PLLaVA, which is read from a folder: "
            f"`hf download {source} --local-dir pllava`, then give that folder"
        )
    require_release(require_family(config.model_type))
    processor = AutoProcessor.from_pretrained(source)
    return AutoModelForImageTextToText.from_pretrained(source, dtype=dtype), processor


def _source(name: str) -> str:
    """Returns what `from_pretrained` calls a model."""
    if name.startswith(TOY_PREFIX):
        return str(toy_path(name.removeprefix(TOY_PREFIX)))
    if not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise InputError(
            f"cannot find a model at {name!r}: give a directory with a config.json, or a hub id owner/name"
        )
    return name


@contextmanager
def _no_bars() -> Iterator[None]:
    """Hides the bar over the weights, which are on disk by then; a download keeps its own bar."""
    earlier = logging.set_tqdm_hook(lambda bar, args, options: bar(*args, **options | {"disable": True}))
    try:
        yield
    finally:
        logging.set_tqdm_hook(earlier)


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
