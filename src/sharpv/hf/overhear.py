"""Reading along with one attention module: its queries and keys, whatever kernel it runs."""

import copy
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from torch import Tensor, nn

__all__ = ["Read", "overhear"]

Read = Callable[[Tensor, Tensor, dict[str, Any]], None]
"""Takes queries `[B, heads, q, head_dim]` and keys `[B, key heads, k, head_dim]`, positions already in them,
and the keyword arguments of the attention function, such as `scaling` and, with FlashAttention in vision
towers, `cu_seq_lens_q`."""

_numbers = count()


@contextmanager
def overhear(module: nn.Module, read: Read) -> Iterator[None]:
    """Shows the queries and keys of an attention module to `read`, each time before it attends.

    The module runs its own kernel, with the same result. Only what this instance looks its kernel up by
    changes, and is put back in the end.

    Args:
        module: that attends through transformers' `AttentionInterface`.
        read: what looks at them; towers may attend piece by piece, in the order of their tokens.
    """
    config: Any = module.config
    kernel = config._attn_implementation
    file = sys.modules[type(module).__module__]
    attend = file.ALL_ATTENTION_FUNCTIONS.get_interface(kernel, file.eager_attention_forward)

    def attend_overheard(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        read(query.detach(), key.detach(), kwargs)
        return attend(module, query, key, value, *args, **kwargs)

    # The kernel's own name stays in it: modules look there whether it is FlashAttention.
    name = f"{kernel}+sharpv-{next(_numbers)}"
    file.ALL_ATTENTION_FUNCTIONS[name] = attend_overheard
    other = copy.copy(config)
    vars(other)["_attn_implementation_internal"] = name
    module.config = other
    try:
        yield
    finally:
        module.config = config
        del file.ALL_ATTENTION_FUNCTIONS[name]
