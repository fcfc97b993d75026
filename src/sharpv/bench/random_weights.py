"""A model of a published size, in the dtype that suits the machine, where it fits."""

import torch

from sharpv.bench.ceilings import faster_dtype
from sharpv.bench.clock import free_bytes
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel
from sharpv.tiny.shapes import SHAPES, build_shape

__all__ = ["open_shape"]


def open_shape(name: str, dtype: str, device: torch.device, layers: int | None = None) -> VideoModel:
    """Builds a published size with random weights.

    Args:
        name: one of `sharpv.tiny.shapes.SHAPES`.
        dtype: name of a torch dtype, or "auto": bfloat16 on CUDA, and elsewhere what multiplies matrices
            faster, bfloat16 or float32.
        device: where to build it.
        layers: of the LLM, the first so many; None for all.

    Raises:
        InputError: no such shape or not so many layers, or less memory than its weights take.
    """
    empty, _ = build_shape(name, device="meta", layers=layers)
    chosen = faster_dtype(device) if dtype == "auto" else getattr(torch, dtype)
    size = sum(weight.numel() for weight in empty.parameters()) * chosen.itemsize
    free = free_bytes(device)
    if free is not None and size > free:
        raise InputError(
            f"got shape {name!r}, whose weights take {size / 1e9:.1f} GB in {chosen}, "
            f"and {free / 1e9:.1f} GB free on {device}: choose a smaller --shape, fewer --layers, "
            "--dtype bfloat16, or another --device"
        )
    built = build_shape(name, chosen, device, layers)
    whole = SHAPES[name].layers
    if layers in (None, whole):
        return VideoModel(name, *built)
    return VideoModel(f"{name}, {layers} of {whole} layers", *built, whole_layers=whole)
