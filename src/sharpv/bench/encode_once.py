"""Encoding a clip once for all that is asked about it."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["encode_once"]


@contextmanager
def encode_once(model: Any, inputs: Mapping[str, Any]) -> Iterator[None]:
    """Within the block, every video of the model's requests is taken for that of one request.

    The vision tower runs once, and each request gets as many copies of the features as it has rows: all rows
    and all methods then read the same numbers, which batches of different size would round differently.

    Args:
        model: whose `base_model.get_video_features` is covered until the end of the block.
        inputs: what the processor returned for one prompt with the clip.
    """
    base = model.base_model
    encode = base.get_video_features
    signature = inspect.signature(encode)
    with torch.no_grad():
        given = {name: value for name, value in inputs.items() if name in signature.parameters}
        once = encode(**given, return_dict=True)

    @functools.wraps(encode)
    def repeat(*args: Any, **given: Any) -> Any:
        kwargs = signature.bind_partial(*args, **given).arguments
        kwargs |= kwargs.pop("kwargs", {})
        grids = kwargs.get("video_grid_thw")
        rows = len(kwargs["pixel_values_videos"] if grids is None else grids)
        features = once.pooler_output
        if isinstance(features, Tensor):
            return type(once)(pooler_output=features.repeat(rows, *[1] * (features.dim() - 1)))
        return type(once)(pooler_output=tuple(features) * rows)

    own = vars(base).get("get_video_features")
    base.get_video_features = repeat
    try:
        yield
    finally:
        if own is None:
            del base.get_video_features
        else:
            base.get_video_features = own
