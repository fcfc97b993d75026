"""Encoding a clip once for all that is asked about it."""

import copy
import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from sharpv.bench.reuse import reusing
from sharpv.hf.families import require_family
from sharpv.hf.features import covered, encode_video
from sharpv.hf.reuse.encoder import Reuse
from sharpv.hf.tower_attention import attention_of, hear, remember_attention

__all__ = ["encode_once", "encoded_as", "features_only"]

TOWER_STATES = ("last_hidden_state", "hidden_states", "attentions")


@contextmanager
def encode_once(
    model: Any, inputs: Mapping[str, Any], *, attention: bool = False, reuse: Reuse | None = None
) -> Iterator[None]:
    """Within the block, every video of the model's requests is taken for that of one request.

    The vision tower runs once, and each request gets as many copies of the features as it has rows: all rows
    and all methods then read the same numbers, which batches of different size would round differently.

    Args:
        model: whose encoder of videos is covered until the end of the block.
        inputs: what the processor returned for one prompt with the clip.
        attention: whether a method will look at the attention of the vision tower.
        reuse: what spares the vision tower patches; not with `attention`.

    Raises:
        UnsupportedModelError: a model of an unknown family.
        InputError: attention of a tower that is not read.
    """
    base, family = model.base_model, require_family(model.config.model_type)
    with torch.no_grad(), hear(base, family) if attention else reusing(model, inputs, reuse):
        once, _ = encode_video(base, family, inputs)
    with encoded_as(model, inputs, once):
        yield


@contextmanager
def encoded_as(model: Any, inputs: Mapping[str, Any], once: Any) -> Iterator[None]:
    """Within the block, the encoder of videos runs no more: it gives what it gave for one request.

    Sessions that are attached within the block have to be detached there.

    Args:
        model: as for `encode_once`.
        inputs: of the request that was encoded.
        once: what `encode_video` returned for it, or `features_only` of that.

    Raises:
        UnsupportedModelError: a model of an unknown family.
    """
    base, family = model.base_model, require_family(model.config.model_type)
    encode = getattr(base, family.encoder)
    signature = inspect.signature(encode)
    pixels = family.pixels if family.pixels in signature.parameters else "pixel_values"
    of_one_row = len(inputs[family.pixels])

    @functools.wraps(encode)
    def repeat(*args: Any, **given: Any) -> Any:
        kwargs = signature.bind_partial(*args, **given).arguments
        kwargs |= kwargs.pop("kwargs", {})
        return _copies(once, len(kwargs[pixels]) // of_one_row)

    with covered(base, family, repeat):
        yield


def features_only(encoded: Any) -> Any:
    """Returns an encoder's output without the states of the vision tower, which would stay in memory."""
    light = copy.copy(encoded)
    for name in TOWER_STATES:
        if getattr(light, name, None) is not None:
            setattr(light, name, None)
    return light


def _copies(once: Any, rows: int) -> Any:
    """Returns an encoder's output with the features of one row as those of several."""
    repeated, features = copy.copy(once), once.pooler_output
    if isinstance(features, Tensor):
        repeated.pooler_output = features.repeat(rows, *[1] * (features.dim() - 1))
    else:
        repeated.pooler_output = tuple(features) * rows
    attention = attention_of(once)
    if attention is not None:
        remember_attention(repeated, attention.repeat(rows))
    if getattr(once, "deepstack_features", None) is not None:
        repeated.deepstack_features = [tuple(videos) * rows for videos in once.deepstack_features]
    return repeated
