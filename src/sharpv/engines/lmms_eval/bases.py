"""What lmms-eval 0.7.3 gets wrong with transformers 5, put right from outside."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from sharpv.tiny.load import TOY_PREFIX, toy_path
from sharpv.video import Sampling, read_video

__all__ = ["Messages", "arguments", "mend", "prefer_a_reader_that_works"]

Messages = list[dict[str, Any]]
DEFAULT_FRAMES = 32


def prefer_a_reader_that_works() -> None:
    """Has qwen-vl-utils read clips with decord where torchcodec is installed but finds no FFmpeg, or is not.

    It would go on to `torchvision.io.read_video`, which is gone. It must be called before qwen-vl-utils is
    imported, and leaves a choice of the user's alone.
    """
    try:
        import torchcodec  # noqa: F401, PLC0415
    except (ImportError, OSError, RuntimeError):
        os.environ.setdefault("FORCE_QWENVL_VIDEO_READER", "decord")


def arguments(base: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments that a model of lmms-eval is built with.

    Args:
        base: its class.
        given: by the user; `pretrained` may name a toy in the box.
    """
    chosen = dict(given)
    parameters = inspect.signature(base).parameters
    pretrained = str(chosen.get("pretrained", ""))
    if pretrained.startswith(TOY_PREFIX):
        chosen["pretrained"] = str(toy_path(pretrained.removeprefix(TOY_PREFIX)))
    if "device" in parameters:
        chosen.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
    # Each process of several finds its device itself. One alone takes llava_hf's default, "", for the name of
    # a device, and the others' "auto" for CUDA.
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone and "device_map" in parameters and "device_map" not in chosen:
        unusable = parameters["device_map"].default == "" or not torch.cuda.is_available()
        if unusable:
            chosen["device_map"] = chosen["device"]
    return chosen


def mend(lm: Any) -> Callable[[Messages], Messages]:
    """Puts a built model right, and returns what its messages have to go through."""
    if not type(lm).__module__.endswith(".chat.llava_hf"):
        return lambda messages: messages
    lm._image_processor = _WithoutEmptyImages(lm._image_processor)
    return partial(_with_frames, frames=int(lm.max_frames_num or DEFAULT_FRAMES))


class _WithoutEmptyImages:
    """A processor that takes no images where it is given an empty list of them."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, images: Any = None, **given: Any) -> Any:
        return self._processor(images=images or None, **given)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


def _with_frames(messages: Messages, frames: int) -> Messages:
    """Returns messages with the frames of each clip in place of its path, of which all would be read.

    They are those of the papers: `linspace(0, N - 1, frames)`.
    """
    return [
        {**message, "content": [_with_frames_of(part, frames) for part in message["content"]]}
        for message in messages
    ]


def _with_frames_of(part: dict[str, Any], frames: int) -> dict[str, Any]:
    if part["type"] != "video" or not isinstance(part["url"], str):
        return part
    return {**part, "url": read_video(part["url"], Sampling(frames=frames)).frames}
