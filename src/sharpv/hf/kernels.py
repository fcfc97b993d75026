"""Standing in for the attention function of one module, and leaving it as it was."""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from torch import nn

__all__ = ["Kernel", "covered_kernel"]

Kernel = Callable[..., tuple[Any, Any]]
"""An attention function of transformers: takes the module, queries, keys, values `[B, heads, q or k,
head_dim]`, a mask and options; returns `[B, q, heads, head_dim]` and the attention or None."""

_numbers = count()


@contextmanager
def covered_kernel(module: nn.Module, cover: Callable[[Kernel], Kernel]) -> Iterator[None]:
    """Within the block, a module attends through what `cover` makes of its own kernel.

    Only what this instance looks its kernel up by changes, and is put back in the end.

    Args:
        module: that attends through transformers' `AttentionInterface`.
        cover: takes the kernel that the module is set to.
    """
    config: Any = module.config
    kernel = config._attn_implementation
    file = sys.modules[type(module).__module__]
    attend = file.ALL_ATTENTION_FUNCTIONS.get_interface(kernel, file.eager_attention_forward)
    # The kernel's own name stays in it: modules look there whether it is FlashAttention.
    name = f"{kernel}+sharpv-{next(_numbers)}"
    file.ALL_ATTENTION_FUNCTIONS[name] = cover(attend)
    other = copy.copy(config)
    vars(other)["_attn_implementation_internal"] = name
    module.config = other
    try:
        yield
    finally:
        module.config = config
        del file.ALL_ATTENTION_FUNCTIONS[name]
