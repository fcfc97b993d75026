"""Attention for training: a shared video prefix, and short turns that see the prefix and themselves.

Registered with transformers as `ATTENTION`. The prefix is plain causal attention, of which fused kernels skip
half; only the few text queries need a mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

__all__ = ["ATTENTION", "Layout", "use_layout"]

ATTENTION = "shared_prefix"


class Layout(NamedTuple):
    """How the sequences of a batch are laid out.

    Attributes:
        prefix: columns that every turn of a row sees, the same number in each row.
        mask: bool `[b, 1, text, prefix + text]`, what each text query sees.
    """

    prefix: int
    mask: Tensor


_layout: ContextVar[Layout | None] = ContextVar("layout", default=None)


@contextmanager
def use_layout(layout: Layout) -> Iterator[None]:
    """Lays the forward passes inside it out."""
    token = _layout.set(layout)
    try:
        yield
    finally:
        _layout.reset(token)


def shared_prefix(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """Attends `[b, heads, n, head_dim]`: the vision tower to everything, the LLM by the layout."""
    scale = options.get("scaling")
    layout = _layout.get()
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = (x.repeat_interleave(groups, 1) for x in (key, value))
    if not getattr(module, "is_causal", False):
        out = scaled_dot_product_attention(query, key, value, scale=scale)
    elif layout is None:
        out = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    else:
        p = layout.prefix
        video = scaled_dot_product_attention(
            query[:, :, :p], key[:, :, :p], value[:, :, :p], is_causal=True, scale=scale
        )
        text = scaled_dot_product_attention(query[:, :, p:], key, value, attn_mask=layout.mask, scale=scale)
        out = torch.cat((video, text), 2)
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, shared_prefix)
