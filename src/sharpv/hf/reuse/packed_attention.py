"""Attention in a packed sequence: each frame's rows look at all rows that serve the frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sharpv.hf.kernels import Kernel, covered_kernel
from sharpv.hf.reuse.packing import Packing

__all__ = ["packed_attention"]

_RUNNING: ContextVar[object] = ContextVar("running", default=None)
"""What tells a packed pass of this thread: other threads see towers as they are."""


@contextmanager
def packed_attention(
    modules: Sequence[nn.Module], packing: Packing, others: Mapping[nn.Module, Packing] = MappingProxyType({})
) -> Iterator[Callable[[], bool]]:
    """Within the block, and for this thread, attention modules of a tower take a packed sequence.

    Every frame is at the same layer at the same time, so that the keys and values that serve it are rows of
    the sequence itself. The modules run their own kernel on them.

    Args:
        modules: that attend through transformers' `AttentionInterface`, without a mask.
        packing: of the sequence.
        others: packings within it, for modules in which a row looks at a part of its frame.

    Yields:
        What says whether the calling thread is within the block.
    """
    key = object()

    def here() -> bool:
        return _RUNNING.get() is key

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(covered_kernel(module, _cover(others.get(module, packing), here)))
        token = _RUNNING.set(key)
        try:
            yield here
        finally:
            _RUNNING.reset(token)


def _cover(packing: Packing, here: Callable[[], bool]) -> Callable[[Kernel], Kernel]:
    """Returns what makes a kernel of packed sequences of one of frames, for threads that are `here`."""

    def covered(attend: Kernel) -> Kernel:
        def attend_packed(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
        ) -> Any:
            if not here():
                return attend(module, query, key, value, attention_mask, **options)

            def own_kernel(*states: Tensor, **more: Any) -> Tensor:
                return attend(module, *states, None, **options | more)[0]

            config: Any = module.config
            across = _in_one_call if "flash_attention" in config._attn_implementation else _frame_by_frame
            moved = packing.to(query.device)
            if moved.order is None:
                return across(own_kernel, moved, query, key, value), None
            states = (state.index_select(2, moved.order) for state in (query, key, value))
            return across(own_kernel, moved, *states).index_select(1, moved.order.argsort()), None

        return attend_packed

    return covered


def _frame_by_frame(
    attend: Callable[..., Tensor], packing: Packing, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Attends with frames in full as a batch, and with the others one by one; `[1, N, heads, head_dim]`."""
    parts, start = [], 0
    for frames, size in packing.full:
        end = start + frames * size
        rows = (part[0, :, start:end].unflatten(1, (frames, size)) for part in (query, key, value))
        parts.append(attend(*(part.transpose(0, 1) for part in rows)).flatten(0, 1))
        start = end
    for count, places in packing.partial:
        served = (part.index_select(2, places) for part in (key, value))
        parts.append(attend(query[:, :, start : start + count], *served)[0])
        start += count
    return torch.cat(parts).unsqueeze(0)


def _in_one_call(
    attend: Callable[..., Tensor], packing: Packing, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    """Attends by FlashAttention's variable lengths; `[1, N, heads, head_dim]`."""
    sizes = [size for frames, size in packing.full for _ in range(frames)]
    queries = sizes + [count for count, _ in packing.partial]
    keys = sizes + [len(places) for _, places in packing.partial]
    first = torch.arange(sum(sizes), device=query.device)
    served = torch.cat([first, *(places for _, places in packing.partial)])
    return attend(
        query,
        *(part.index_select(2, served) for part in (key, value)),
        cu_seq_lens_q=_borders(queries, query.device),
        cu_seq_lens_k=_borders(keys, query.device),
        max_length_q=max(queries),
        max_length_k=max(keys),
    )


def _borders(lengths: Sequence[int], device: torch.device) -> Tensor:
    return pad(torch.tensor(lengths, dtype=torch.int32).cumsum(0, dtype=torch.int32), (1, 0)).to(device)
