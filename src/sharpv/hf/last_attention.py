"""What the last token of each prompt looks at in one layer of the LLM, whatever kernel attends there."""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from sharpv.hf.cache import PrunedLayer
from sharpv.hf.overhear import overhear
from sharpv.hf.positions import upload
from sharpv.hf.step import Step

__all__ = ["LastAttention", "attention_of"]


class LastAttention:
    """Reads along with the attention of one layer during one pass.

    Args:
        decoder: with its `layers`.
        index: of the layer.
        step: the pass, as the layer is fed.

    Attributes:
        paid: float `[B, q]`, what the last token of each row pays to each column that is fed; None before the
            layer has run.
    """

    def __init__(self, decoder: Any, index: int, step: Step) -> None:
        self.paid: Tensor | None = None
        self._layer, self._index, self._step = decoder.layers[index], index, step
        self._reading = ExitStack()

    def hook(self) -> list[RemovableHandle]:
        """Has the layer read along with when it runs."""
        return [
            self._layer.register_forward_pre_hook(self._start),
            self._layer.register_forward_hook(self._end, always_call=True),
        ]

    def stop(self) -> None:
        """Leaves the layer as it was, also one that was interrupted, which calls no hook."""
        self._reading.close()

    def _start(self, *_: Any) -> None:
        self._reading.enter_context(overhear(self._layer.self_attn, self._read))

    def _end(self, *_: Any) -> None:
        self.stop()

    def _read(self, query: Tensor, key: Tensor, kwargs: dict[str, Any]) -> None:
        fed, held = self._step.fed, key.shape[2] - query.shape[2]
        layer = None if self._step.cache is None else self._step.cache.layers[self._index]
        real = layer.columns(fed, held) if isinstance(layer, PrunedLayer) else fed
        last = fed.shape[1] - 1 - fed.flip(1).int().argmax(1)
        scaling = kwargs.get("scaling") or query.shape[-1] ** -0.5
        self.paid = attention_of(query, key, last, real, scaling)[:, held:]


def attention_of(query: Tensor, key: Tensor, last: Tensor, real: Tensor, scaling: float) -> Tensor:
    """Computes one row of attention for each row of a batch, mean over the heads.

    Args:
        query: `[B, heads, q, head_dim]`.
        key: `[B, key heads, k, head_dim]`; each serves as many heads of queries in a row.
        last: int64 `[B]`, the query of each row, whose own key is the last of the real ones.
        real: bool `[B, k]`, false at padding.
        scaling: of the products.

    Returns:
        float32 `[B, k]` (float64 for float64 queries), 0 at padding.
    """
    batch, heads, _, dim = query.shape
    dtype = torch.promote_types(query.dtype, torch.float32)
    places = upload(last, query.device)[:, None, None, None].expand(batch, heads, 1, dim)
    queries = query.gather(2, places).view(batch, key.shape[1], -1, dim).to(dtype)
    with torch.autocast(query.device.type, enabled=False):
        products = queries @ key.to(dtype).transpose(-1, -2) * scaling
        padding = ~upload(real, query.device)[:, None, None]
        return products.masked_fill(padding, -torch.inf).softmax(-1).mean((1, 2))
