"""Which layers' visual keys and values to give up: Memory SharpV (arXiv 2511.08003, section 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sharpv.errors import InputError

__all__ = ["discard", "layer_similarity", "visual_columns"]


def visual_columns(visual: Tensor) -> list[Tensor]:
    """Lists the visual columns of each row, for `layer_similarity` in all layers.

    Args:
        visual: bool `[B, L]`, true for visual tokens; on a GPU, the call waits for the device.

    Returns:
        int64 `[v_b]` per row, ascending.

    Raises:
        InputError: a mask that is not bool `[B, L]`.
    """
    if visual.dtype != torch.bool or visual.ndim != 2:
        raise InputError(
            f"visual is {visual.dtype} {list(visual.shape)}: give a bool mask [B, L], true for visual tokens"
        )
    return [row.nonzero().flatten() for row in visual]


@torch.no_grad()
def layer_similarity(hidden: Tensor, original: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """Measures how much a layer's visual hidden states still resemble the original features.

    `sim_l = mean over the row's visual tokens of cos(V_l, V)`, computed in float32. The cosine with a zero
    vector is 0. What stands at other positions, NaN included, takes no part.

    Args:
        hidden: `[B, L, d]`, V_l: hidden states at decoder layer l, any floating dtype.
        original: `[B, L, d]`, V: the LLM's input embeddings.
        columns: int64 `[v_b]` per row, from `visual_columns`, on the device of `hidden`.

    Returns:
        float32 `[B]`, in [-1, 1] up to rounding. NaN for a row without visual tokens, and for one whose
        visual hidden states hold NaN or infinity: `discard` keeps both.

    Raises:
        InputError: shapes that do not match.
    """
    if hidden.ndim != 3 or hidden.shape != original.shape or len(columns) != len(hidden):
        raise InputError(
            f"hidden {list(hidden.shape)}, original {list(original.shape)} and the columns of "
            f"{len(columns)} rows do not match: give [B, L, d], [B, L, d] and B lists of columns"
        )
    rows = [
        _cosines(now[chosen].float(), then[chosen].float()).mean()
        for now, then, chosen in zip(hidden, original, columns, strict=True)
    ]
    return torch.stack(rows) if rows else hidden.new_zeros(0, dtype=torch.float32)


def discard(similarity: Tensor, memory_threshold: float) -> Tensor:
    """Says which rows give up a layer's visual keys and values: those with `sim_l < M`.

    Args:
        similarity: float `[B]`, from `layer_similarity`.
        memory_threshold: M.

    Returns:
        bool `[B]`; false for NaN, so that nothing is dropped without a measurement.
    """
    return similarity < memory_threshold


def _cosines(a: Tensor, b: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    # A NaN length is not 0 and stays NaN.
    return torch.where(lengths == 0, 0, (a * b).sum(-1) / lengths)
