"""Stretches of frames in which some places of the picture stand still: those merge over time.

The rest of the budget is reached by clustering (`sharpv.methods.clusters`): the still tokens of a stretch are
one group, the other tokens of each frame another.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from sharpv.core.select import share_tokens
from sharpv.methods.base import Selection, keep_places
from sharpv.methods.clusters import group_means, thin

__all__ = ["merge_still", "still_places"]


def still_places(likeness: Tensor, lengths: Sequence[int], threshold: float, total: int) -> Tensor:
    """Says which places of which stretches are merged over time.

    Those that resemble themselves more than `threshold`. Where that would leave fewer tokens of the video
    than `total`, the least alike are left apart again, until it does not; ties: the lower index.

    Args:
        likeness: `[stretches, f]` on the CPU.
        lengths: frames of each stretch; one of 1 frame has nothing to merge.
        threshold: of likeness.
        total: tokens to keep, at most n f.

    Returns:
        bool `[stretches, f]` on the CPU.
    """
    saved = torch.tensor(lengths).unsqueeze(-1) - 1
    still = (likeness > threshold) & (saved > 0)
    saved = saved * still
    lack = total - (sum(lengths) * likeness.shape[1] - int(saved.sum()))
    if lack > 0:
        order = likeness.masked_fill(~still, torch.inf).flatten().argsort(stable=True)
        gained = saved.flatten()[order].cumsum(0)
        still.view(-1)[order[: int(torch.searchsorted(gained, lack)) + 1]] = False
    return still


def merge_still(
    features: Tensor,
    vectors: Tensor,
    lengths: Sequence[int],
    still: Tensor,
    total: int,
    neighbours: int,
    own: float,
) -> Selection:
    """Merges still places over time, and clusters what is left down to the budget.

    The mean of a still place takes its place in the first frame of the stretch. Groups share the budget in
    proportion to their size, at least 1 token each where that can be; the largest remainders get what
    rounding leaves.

    Args:
        features: `[n, f, d]`, as they came.
        vectors: `[n, f, d]`, from `widen`.
        lengths: frames of each stretch, n together.
        still: bool `[stretches, f]` on the CPU, from `still_places`.
        total: tokens to keep.
        neighbours: of `thin`.
        own: of `thin`.

    Returns:
        The kept tokens and their values.
    """
    n, f, _ = vectors.shape
    frames, stretches = torch.tensor(lengths), len(lengths)
    stretch = torch.arange(stretches).repeat_interleave(frames)
    first = (frames.cumsum(0) - frames)[stretch]
    here = torch.arange(n * f).view(n, f)
    places, owner = torch.where(still[stretch], here[first], here).flatten().unique(return_inverse=True)  # type: ignore[no-untyped-call]
    values = group_means(vectors.flatten(0, 1), owner.to(vectors.device), len(places))
    frame = places // f
    of_stretch = still[stretch].flatten()[places]
    _, groups = torch.where(of_stretch, stretch[frame], stretches + frame).unique(return_inverse=True)  # type: ignore[no-untyped-call]
    sizes = torch.bincount(groups).tolist()
    counts = share_tokens(total, sizes, int(total >= len(sizes)), max(sizes))
    kept, merged = thin(values, groups, counts, neighbours, own)
    return keep_places(places[kept], features, merged)
