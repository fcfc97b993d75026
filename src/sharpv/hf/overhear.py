"""Reading along with one attention module: its queries and keys, whatever kernel it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from sharpv.hf.kernels import Kernel, covered_kernel

__all__ = ["Read", "overhear"]

Read = Callable[[Tensor, Tensor, dict[str, Any]], None]
"""Takes queries `[B, heads, q, head_dim]` and keys `[B, key heads, k, head_dim]`, positions already in them,
and the keyword arguments of the attention function, such as `scaling` and, with FlashAttention in vision
towers, `cu_seq_lens_q`."""


@contextmanager
def overhear(module: nn.Module, read: Read) -> Iterator[None]:
    """Shows the queries and keys of an attention module to `read`, each time before it attends.

    The module runs its own kernel, with the same result. Only what this instance looks its kernel up by
    changes, and is put back in the end.

    Args:
        module: that attends through transformers' `AttentionInterface`.
        read: what looks at them; towers may attend piece by piece, in the order of their tokens.
    """

    def overheard(attend: Kernel) -> Kernel:
        def attend_overheard(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
        ) -> Any:
            read(query.detach(), key.detach(), kwargs)
            return attend(module, query, key, value, *args, **kwargs)

        return attend_overheard

    with covered_kernel(module, overheard):
        yield
