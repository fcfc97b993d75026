"""Features of the videos of a request: made by the encoder, and of the kept tokens for the model."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from sharpv.errors import InputError
from sharpv.hf.families import Family
from sharpv.hf.positions import upload
from sharpv.hf.turns import changing

__all__ = ["PrunedOutput", "covered", "encode_video", "flatten", "rebuild", "with_encoded_images"]

IMAGE_PIXELS = ("pixel_values", "pixel_values_images")
OF_THE_WHOLE_PROMPT = ("video_compression_mask",)


@dataclass
class PrunedOutput(BaseModelOutputWithPooling):
    """Features of a shortened prompt, which beams can repeat once.

    `generate()` writes the repeated features back into its caller's object; a second call would repeat the
    repeated ones, and give rows the features of others.

    Attributes:
        deepstack_features: per early layer of the decoder, what is added to the tokens of each video,
            `[tokens, d]`; None for families without.
    """

    deepstack_features: list[tuple[Tensor, ...]] | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "pooler_output" and isinstance(value, list):
            if getattr(self, "_repeated", False):
                raise InputError(
                    "got the features of pruned inputs, or of images beside them, that an earlier generate() "
                    "with beams has used up: call sharpv.prune_inputs again, or use sharpv.attach"
                )
            object.__setattr__(self, "_repeated", True)
        super().__setattr__(name, value)


def encode_video(
    base: PreTrainedModel, family: Family, inputs: Mapping[str, Any]
) -> tuple[ModelOutput, set[str]]:
    """Encodes the videos of a request.

    Args:
        base: the base model.
        family: of it.
        inputs: what the processor returned.

    Returns:
        The encoder's output, with the features as `pooler_output`, and the names of the inputs that are done
        with.
    """
    encode = getattr(base, family.encoder)
    names = inspect.signature(encode).parameters.keys() - {"kwargs"}
    given = {name: inputs[name] for name in names if name in inputs}
    if family.pixels not in names:
        # This encoder of images takes the frames of a video, too.
        given = {"pixel_values": inputs[family.pixels]}
    consumed = given.keys() - {"pixel_values"} | {family.pixels, *OF_THE_WHOLE_PROMPT}
    return encode(**given, return_dict=True), consumed


@torch.no_grad()
def with_encoded_images(model: PreTrainedModel, family: Family, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Encodes the images that stand beside a video: no forward pass takes pixels and features together."""
    pixels = next((name for name in IMAGE_PIXELS if inputs.get(name) is not None), None)
    if family.modality == "image" or pixels is None:
        return dict(inputs)
    encode = model.base_model.get_image_features
    names = inspect.signature(encode).parameters.keys() - {"kwargs"}
    encoded = encode(**{name: inputs[name] for name in names if name in inputs}, return_dict=True)
    features = {**(inputs.get("mm_encoder_outputs") or {}), "image": _reusable(encoded)}
    return {name: value for name, value in inputs.items() if name != pixels} | {
        "mm_encoder_outputs": features
    }


@contextmanager
def covered(base: PreTrainedModel, family: Family, cover: Callable[..., Any]) -> Iterator[None]:
    """Within the block, `cover` stands for the encoder of videos of this instance.

    Starts and ends when no other thread is `changing` the model.

    Args:
        base: the base model, which is put back as it was in the end.
        family: of it.
        cover: takes what the encoder takes, with its signature (`functools.wraps`).
    """
    with changing(base):
        own = vars(base).get(family.encoder)
        setattr(base, family.encoder, cover)
    try:
        yield
    finally:
        with changing(base):
            if own is None:
                delattr(base, family.encoder)
            else:
                setattr(base, family.encoder, own)


def flatten(encoded: ModelOutput, tokens: int) -> Tensor:
    """Returns the features of all videos, `[tokens, d]`."""
    pooled = encoded.pooler_output
    videos = [pooled] if isinstance(pooled, Tensor) else pooled
    features = torch.cat([video.flatten(0, -2) for video in videos])
    if len(features) != tokens:
        raise InputError(
            f"got {tokens} video placeholders for {len(features)} features of the vision tower: build prompt "
            "and pixels with the model's own processor"
        )
    return features


def rebuild(encoded: ModelOutput, features: Tensor, keep: Tensor) -> PrunedOutput:
    """Returns a new encoder output with the kept features, in the container that the model expects.

    A family that stacks its features gets one row per token: `generate()` cuts them at the rows of the
    prompt, which with beams and ragged rows only the single token allows. Deepstack features stay those of
    the kept tokens themselves, also with methods that merge.

    Args:
        encoded: of the encoder.
        features: `[tokens, d]`, from `flatten`, or what stands for them.
        keep: bool `[tokens]` on the host.
    """
    pooled = encoded.pooler_output
    if isinstance(pooled, Tensor):
        return PrunedOutput(pooler_output=features[_places(keep, features)][:, None])
    tokens = [video.shape[:-1].numel() for video in pooled]
    values = [part.view(video.shape) for part, video in zip(features.split(tokens), pooled, strict=True)]
    kept = [_places(mask, video) for mask, video in zip(keep.split(tokens), pooled, strict=True)]
    deepstack = getattr(encoded, "deepstack_features", None)
    return PrunedOutput(
        pooler_output=_kept(values, kept),
        deepstack_features=None if deepstack is None else [_kept(layer, kept) for layer in deepstack],
    )


def _places(keep: Tensor, features: Tensor) -> Tensor:
    """Returns the places of the kept tokens, on the device of the features."""
    return upload(keep.nonzero().flatten(), features.device)


def _kept(videos: Sequence[Tensor], kept: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Returns the kept tokens of each video, in as many dimensions as the video had."""
    return tuple(
        video.flatten(0, -2)[upload(places, video.device)].unflatten(0, (-1, *[1] * (video.dim() - 2)))
        for video, places in zip(videos, kept, strict=True)
    )


def _reusable(encoded: ModelOutput) -> PrunedOutput:
    """Returns an encoder output that says so when beams have used it up."""
    pooled = encoded.pooler_output
    return PrunedOutput(
        # A list is what beams write back.
        pooler_output=tuple(pooled) if isinstance(pooled, list) else pooled,
        deepstack_features=getattr(encoded, "deepstack_features", None),
    )
