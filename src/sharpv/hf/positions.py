"""Shortening the rows of a batch: which columns stay, and what the tensors along them become.

Masks and columns of prompts are kept on the host, whatever the device of the model: they decide shapes, and
each question to a mask on a GPU would wait for all that is queued there.
"""

import torch
from torch import Tensor

__all__ = ["compact", "gather_columns", "gather_positions", "places", "renumber", "tail_length", "upload"]


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Copies to a device; to a GPU, without waiting for what is queued there."""
    # What comes from a GPU is read at once, and must have arrived.
    return values.to(device, non_blocking=not values.is_cuda)


def compact(keep: Tensor) -> tuple[Tensor, Tensor]:
    """Packs the kept columns of each row to the right of a rectangle, in order.

    Args:
        keep: bool `[B, L]`.

    Returns:
        `index` int64 `[B, P]`, the column that each place is filled from, with P the longest row; and `real`
        bool `[B, P]`, false where a shorter row is padded (with columns that it does not keep).
    """
    width = int(keep.sum(1).max())
    # Each column's place in a stable sort, those that go first.
    given_up = (~keep).cumsum(1)
    order = torch.where(keep, given_up[:, -1:] + keep.cumsum(1), given_up) - 1
    columns = torch.arange(keep.shape[1], device=keep.device).expand_as(order)
    index = torch.empty_like(order).scatter_(1, order, columns)[:, keep.shape[1] - width :]
    return index, keep.gather(1, index)


def places(keep: Tensor) -> Tensor:
    """Returns where `compact(keep)` puts the last kept column up to each column: int64 `[B, L]`.

    Columns before the first kept one point at the first place.
    """
    counts = keep.sum(1, keepdim=True)
    return (keep.long().cumsum(1) - 1 + counts.max() - counts).clamp_min(0)


def tail_length(keep: Tensor) -> int:
    """Returns the number of columns of `keep [B, L]` after the last one that some row gives up."""
    given_up = (~keep).any(0).nonzero()
    return keep.shape[1] - 1 - int(given_up[-1]) if len(given_up) else keep.shape[1]


def gather_columns(values: Tensor, index: Tensor) -> Tensor:
    """Returns `values [B, L, ...]` at the columns `index [B, P]`: `[B, P, ...]`."""
    rest, index = values.shape[2:], upload(index, values.device)
    return values.gather(1, index.reshape(*index.shape, *(1 for _ in rest)).expand(*index.shape, *rest))


def gather_positions(position_ids: Tensor, index: Tensor) -> Tensor:
    """Returns position ids `[B or 1, L]` or `[axes, B or 1, L]` at the columns `index [B, P]`."""
    batch, index = index.shape[0], upload(index, position_ids.device)
    if position_ids.dim() == 2:
        return position_ids.expand(batch, -1).gather(1, index)
    axes = position_ids.shape[0]
    return position_ids.expand(axes, batch, -1).gather(2, index.expand(axes, *index.shape))


def renumber(position_ids: Tensor, real: Tensor) -> Tensor:
    """Closes the gaps in position ids `[B, P]`: each row counts on from its first real id.

    Args:
        position_ids: int64, non-decreasing along a row.
        real: bool `[B, P]`, false at padding, which gets id 0.
    """
    real = upload(real, position_ids.device)
    first = position_ids.masked_fill(~real, torch.iinfo(position_ids.dtype).max).amin(1, keepdim=True)
    return (first + real.long().cumsum(1) - 1).masked_fill(~real, 0)
