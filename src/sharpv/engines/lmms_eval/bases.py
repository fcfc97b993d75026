"""What lmms-eval 0.7.3 gets wrong with transformers 5, put right from outside."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from sharpv.errors import InputError
from sharpv.tiny.load import TOY_PREFIX, toy_path
from sharpv.video import Sampling, read_video, sample_indices

__all__ = ["Messages", "arguments", "mend", "prefer_a_reader_that_works"]

Messages = list[dict[str, Any]]


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

    Raises:
        InputError: the class has no such argument, or a checkpoint is missing.
    """
    chosen = dict(given)
    defaults = _arguments_of(base)
    if unknown := [name for name in chosen if name not in defaults]:
        raise InputError(f"got model_args {', '.join(unknown)}: the base takes {', '.join(defaults)}")
    if "pretrained" not in chosen:
        raise InputError("model_args name no checkpoint: add pretrained=, a directory, a hub id or a toy")
    pretrained = str(chosen["pretrained"])
    if pretrained.startswith(TOY_PREFIX):
        chosen["pretrained"] = str(toy_path(pretrained.removeprefix(TOY_PREFIX)))
    chosen.setdefault("device", "cuda" if torch.cuda.is_available() else "cpu")
    # Each process of several finds its device itself. One alone takes llava_hf's default, "", for the name of
    # a device, and with the others' "auto" or "cuda" takes no notice of any device but that.
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    if alone and "device_map" not in chosen and (defaults["device_map"] == "" or chosen["device"] != "cuda"):
        chosen["device_map"] = chosen["device"]
    return chosen


def _arguments_of(base: type) -> dict[str, Any]:
    """Returns the arguments of a class and of those that it hands the rest to, with their defaults."""
    defaults: dict[str, Any] = {}
    for each in base.__mro__:
        if "__init__" in vars(each) and each is not object:
            named = list(inspect.signature(vars(each)["__init__"]).parameters.values())[1:]
            for parameter in named:
                if parameter.kind is not parameter.VAR_KEYWORD:
                    defaults.setdefault(parameter.name, parameter.default)
    return defaults


def mend(lm: Any) -> Callable[[Messages], Messages]:
    """Puts a built model right, and returns what its messages have to go through.

    Raises:
        InputError: it is to read clips in a way that it cannot.
    """
    kind = type(lm).__module__.rpartition(".")[2]
    if kind == "llava_hf":
        lm._image_processor = _WithoutEmptyImages(lm._image_processor)
        return partial(_with_frames, sampling=_sampling("max_frames_num", lm.max_frames_num))
    if kind == "internvl_hf":
        if lm.fps is not None:
            raise InputError(f"got fps={lm.fps}: frames of a clip are counted here, so give num_frames")
        sampling = _sampling("num_frames", lm.num_frames)
        # It would have the processor sample the frames once more.
        lm.num_frames = None
        return partial(_with_frames, sampling=sampling)
    if kind == "qwen2_vl":
        lm.processor = _WithFramesOfEachClip(lm.processor, lm.max_num_frames)
    if kind in ("qwen3_vl", "qwen3_5"):
        return _AsManyFramesAsThereAre(lm).see
    return lambda messages: messages


def _sampling(name: str, frames: Any) -> Sampling:
    try:
        return Sampling(frames=frames)
    except ValueError as error:
        raise InputError(f"got {name}={frames!r}: {error}") from None


class _Instead:
    """Stands in for a processor, and is it in all but what a subclass changes."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)


class _WithoutEmptyImages(_Instead):
    """A processor that takes no images where it is given an empty list of them."""

    def __call__(self, images: Any = None, **given: Any) -> Any:
        return self._processor(images=images or None, **given)


class _WithFramesOfEachClip(_Instead):
    """A processor that takes no more than so many frames of any clip.

    qwen2_vl chooses them of the first clip of a request, and hands the others over as they are.
    """

    def __init__(self, processor: Any, frames: int) -> None:
        super().__init__(processor)
        self._sampling = _sampling("max_num_frames", frames)

    def __call__(self, videos: Any = None, **given: Any) -> Any:
        if videos is not None:
            videos = [clip[sample_indices(self._sampling, len(clip))] for clip in videos]
        return self._processor(videos=videos, **given)


class _AsManyFramesAsThereAre:
    """Has no more frames asked of a clip than it holds, for which qwen-vl-utils fails.

    The clips of a request get one number of frames: that of the shortest, made even.
    """

    def __init__(self, lm: Any) -> None:
        self._paths: list[str] = []
        self._build = lm._build_video_kwargs
        lm._build_video_kwargs = self._bounded

    def see(self, messages: Messages) -> Messages:
        """Takes note of the clips, and returns the messages as they are."""
        parts = [part for message in messages for part in message["content"]]
        self._paths += [
            part["url"] for part in parts if part["type"] == "video" and isinstance(part["url"], str)
        ]
        return messages

    def _bounded(self) -> dict[str, Any]:
        from decord import VideoReader  # noqa: PLC0415

        built, paths, self._paths = self._build(), self._paths, []
        if "nframes" in built:
            fewest = min([built["nframes"], *(len(VideoReader(path)) for path in paths)])
            built["nframes"] = max(2, fewest // 2 * 2)
        return built


def _with_frames(messages: Messages, sampling: Sampling) -> Messages:
    """Returns messages with the frames of each clip in place of its path, of which all would be read.

    With a number of frames, they are those of the papers: `linspace(0, N - 1, frames)`.
    """
    return [
        {**message, "content": [_with_frames_of(part, sampling) for part in message["content"]]}
        for message in messages
    ]


def _with_frames_of(part: dict[str, Any], sampling: Sampling) -> dict[str, Any]:
    if part["type"] != "video" or not isinstance(part["url"], str):
        return part
    cut = {name: part[name] for name in ("start_time", "end_time") if part.get(name) is not None}
    if cut:
        raise InputError(
            f"got {part['url']} with {cut}: this base reads whole clips only, so take a Qwen, or cut the clip"
        )
    return {**part, "url": read_video(part["url"], sampling).frames}
