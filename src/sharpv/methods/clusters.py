"""Tokens that stand for those around them: density peaks over nearest neighbours (DPC-kNN).

For m points: `rho_i = exp(-mean of the squared distances to the k nearest others)`; `delta_i` is the distance
to the nearest denser point, of the densest one to the furthest point. The centres are the points of the
highest `rho_i delta_i`; every other point belongs to its nearest centre. O(m^2 d), an m x m matrix at a
time.

Distances are in units of the root mean square norm of the points, so that scale decides nothing; published
codes divide by sqrt(d), which is the same for channels of size 1. Of equally dense points the lower index
counts as denser, where they add noise. With TF32 switched on in torch, distances are only as sure as TF32 is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["cluster", "group_means", "join", "thin"]

# A cosine as near as this to 1 is that of a copy but for rounding.
_COPY = 1e-6
# A squared distance below this share of the squared norms is float32's rounding: the points are equal.
_ROUNDING = 1e-6


def cluster(points: Tensor, count: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Picks centres, and gives each point to one of them.

    Args:
        points: `[m, d]`, float32 or float64.
        count: centres wanted, in 1..m.
        neighbours: k, at least 1; all others where they are fewer.

    Returns:
        int64 `[count]`, the centres in ascending order, and int64 `[m]`, the rank in it of each point's
        centre. Ties: the lower index.
    """
    everyone = torch.arange(len(points), device=points.device)
    if count == len(points):
        return everyone, everyone
    squares = _squared_distances(points)
    others = squares.clone().fill_diagonal_(torch.inf)
    nearest = others.topk(min(neighbours, len(points) - 1), largest=False).values
    density = torch.exp(-nearest.mean(-1))
    by_density = density.argsort(descending=True, stable=True)
    rank = torch.empty_like(by_density).scatter_(0, by_density, everyone)
    gaps = squares.masked_fill(rank >= rank.unsqueeze(-1), torch.inf).amin(-1)
    gaps[by_density[:1]] = squares[by_density[:1]].amax(-1)
    peaks = (density * gaps.sqrt()).argsort(descending=True, stable=True)
    centres = peaks[:count].sort().values
    owner = squares[:, centres].argmin(-1)
    owner[centres] = everyone[:count]
    return centres, owner


def _squared_distances(points: Tensor) -> Tensor:
    """Returns `[m, m]`, relative to the mean squared norm of the points."""
    # Around their mean, so that what the points share cancels before it is squared.
    around = points - points.mean(0)
    sizes = around.square().sum(-1)
    squares = points.new_empty(len(points), len(points))
    # With out=, autocast leaves the product alone.
    torch.mm(around, around.T, out=squares)
    sums = sizes.unsqueeze(-1) + sizes
    squares = sums - 2 * squares
    # Between points that are all zero there is no distance, whatever the unit.
    return torch.where(squares > _ROUNDING * sums, squares / points.square().sum(-1).mean(), 0)


def group_means(vectors: Tensor, owner: Tensor, count: int) -> Tensor:
    """Returns `[count, d]`: the mean of each group, a single vector as it is, the same on every run.

    Args:
        vectors: `[m, d]`.
        owner: int64 `[m]` on their device, the group of each, in `range(count)`; no group is empty.
        count: number of groups.
    """
    sizes = torch.bincount(owner, minlength=count)
    return torch.segment_reduce(vectors[owner.argsort(stable=True)], "mean", lengths=sizes, axis=0)


def join(units: Tensor, values: Tensor, targets: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each of some tokens to the one of others that is most like it.

    O(u c d) for u tokens and c targets, and a u x c matrix. Targets within 1e-6 of a token count as its
    copies, alike. With TF32 switched on in torch, cosines are only as sure as TF32 is.

    Args:
        units: `[m, d]`, unit vectors or zero.
        values: `[m, d]`, the tokens.
        targets: int64 `[c]` on their device, at least one.
        others: int64 `[u]`, those that are given away.

    Returns:
        `[c, d]`, the mean of those that joined each target, 0 without any; and int64 `[c]`, their number.
        Ties: the lower index.
    """
    cosines = units.new_empty(len(others), len(targets))
    # With out=, autocast leaves the product alone.
    torch.mm(units[others], units[targets].T, out=cosines)
    owner = cosines.clamp_(max=1 - _COPY).argmax(-1)
    found, group, sizes = owner.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    means = values.new_zeros(len(targets), values.shape[-1])
    if len(found):
        means[found] = group_means(values[others], group, len(found))
    return means, sizes.new_zeros(len(targets)).index_copy(0, found, sizes)


def thin(
    values: Tensor, groups: Tensor, counts: Sequence[int], neighbours: int, own: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Reduces each group of tokens to a number of them, each standing for a cluster of its group.

    Args:
        values: `[u, d]`, float32 or float64.
        groups: int64 `[u]` on the CPU, the group of each token.
        counts: tokens to keep of group 0, 1, ..., at most as many as it has.
        neighbours: k of `cluster`.
        own: share b of a centre's own value in `b centre + (1 - b) mean of its cluster`, itself included.

    Returns:
        int64 `[k]` on the CPU, the kept of the u tokens, and `[k, d]`, the values that they take.
    """
    order = groups.argsort(stable=True).to(values.device)
    sizes = torch.bincount(groups, minlength=len(counts)).tolist()
    kept, merged = [order[:0]], [values[:0]]
    for members, count in zip(order.split(sizes), counts, strict=True):  # type: ignore[no-untyped-call]
        if count:
            points = values[members]
            centres, owner = cluster(points, count, neighbours)
            kept.append(members[centres])
            merged.append(torch.lerp(group_means(points, owner, count), points[centres], own))
    return torch.cat(kept).cpu(), torch.cat(merged)
