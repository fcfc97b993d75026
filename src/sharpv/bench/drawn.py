"""Requests with drawn features: how long the LLM takes does not depend on what the vision tower saw."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from sharpv.bench.encode_once import features_only
from sharpv.bench.flops import encode_on_meta
from sharpv.bench.phases import InputSide
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel
from sharpv.hf.families import require_family

__all__ = ["draw_request"]

FEATURES = ("pooler_output", "deepstack_features")


def draw_request(loaded: VideoModel, twin: Any, inputs: dict[str, Any], seed: int = 0) -> InputSide:
    """Gives a request features of normal noise, of the shapes that its encoder would give.

    Args:
        loaded: the model.
        twin: of it, from `sharpv.bench.flops.on_meta`, on which the encoder says the shapes.
        inputs: from `preprocess`.
        seed: the same seed gives the same features.

    Returns:
        The request, its pixels replaced by a view of one zero in their shape, which takes no memory.

    Raises:
        InputError: the encoder cannot run without data.
    """
    family = require_family(loaded.model.config.model_type)
    try:
        encoded = features_only(encode_on_meta(twin, family, inputs).output)
    except (RuntimeError, NotImplementedError) as error:
        raise InputError(
            f"got {loaded.name}, whose encoder does not say the shapes of its features without data: use one "
            "of the published sizes"
        ) from error
    generator = torch.Generator().manual_seed(seed)

    def draw(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return torch.randn(value.shape, generator=generator).to(loaded.model.device, value.dtype)

    for name in FEATURES:
        if getattr(encoded, name, None) is not None:
            setattr(encoded, name, tree_map(draw, getattr(encoded, name)))
    pixels = inputs[family.pixels]
    return InputSide({**inputs, family.pixels: pixels.new_zeros(()).expand(pixels.shape)}, encoded, {}, None)
