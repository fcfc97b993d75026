"""Attention in a packed sequence: each frame's rows look at all rows that serve the frame."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from sharpv.hf.kernels import Kernel, covered_kernel
from sharpv.hf.reuse.packing import Packing

__all__ = ["packed_attention", "running"]

_RUNNING: ContextVar[Packing | None] = ContextVar("running", default=None)
"""The packing that the towers of this thread encode: other threads see towers as they are."""


def running() -> Packing | None:
    """Returns the packing that a tower encodes in this thread; None for a tower as it is."""
    return _RUNNING.get()


@contextmanager
def packed_attention(modules: Sequence[nn.Module], packing: Packing) -> Iterator[None]:
    """Within the block, and for this thread, attention modules of a tower take a packed sequence.

    Every frame is at the same layer at the same time, so that the keys and values that serve it are rows of
    the sequence itself. The modules run their own kernel on them.

    Args:
        modules: that attend through transformers' `AttentionInterface`, without a mask.
        packing: of the sequence.
    """
    moved: dict[torch.device, Packing] = {}

    def covered(attend: Kernel) -> Kernel:
        def attend_packed(
            module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any = None, **options: Any
        ) -> Any:
            if _RUNNING.get() is not packing:
                return attend(module, query, key, value, mask, **options)
            device = query.device
            if device not in moved:
                moved[device] = packing.to(device)
            config: Any = module.config
            across = _in_one_call if "flash_attention" in config._attn_implementation else _frame_by_frame

            def own_kernel(*states: Tensor, **more: Any) -> Tensor:
                return attend(module, *states, None, **options | more)[0]

            return across(own_kernel, moved[device], query, key, value), None

        return attend_packed

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(covered_kernel(module, covered))
        token = _RUNNING.set(packing)
        try:
            yield
        finally:
            _RUNNING.reset(token)


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
