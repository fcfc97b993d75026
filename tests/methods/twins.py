"""The methods again as plain loops in float64, and what it means to agree with them.

A twin gives the values by which tokens are ranked, before anything is picked: kept tokens have to have the
highest, but for ties within `TIE`, which rounding may turn either way.
"""

from itertools import pairwise
from math import exp, inf, sqrt

from torch import Tensor

TIE = 1e-5

Vector = list[float]
Table = list[Vector]


def dot(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def norm(a: Vector) -> float:
    return sqrt(dot(a, a))


def unit(a: Vector) -> Vector:
    size = norm(a)
    return [x / size for x in a] if size else a


def minus(a: Vector, b: Vector) -> Vector:
    return [x - y for x, y in zip(a, b, strict=True)]


def mean(vectors: Table) -> Vector:
    return [sum(channel) / len(vectors) for channel in zip(*vectors, strict=True)]


def change(a: Vector, b: Vector) -> float:
    """1 - cos, and for zero vectors what the same formula of unit vectors gives."""
    gap = minus(unit(a), unit(b))
    return dot(gap, gap) / 2


def evs(features: Tensor) -> Table:
    video = features.double().tolist()
    rows = [[inf] * len(video[0])]
    for before, frame in pairwise(video):
        rows.append([change(a, b) for a, b in zip(frame, before, strict=True)])
    return rows


def dycoke(features: Tensor) -> Table:
    video = features.double().tolist()
    rows = []
    for t, frame in enumerate(video):
        reference = {0: t, 1: t - 1, 2: t - 2, 3: t - 1}[t % 4]
        rows.append([change(a, b) for a, b in zip(frame, video[reference], strict=True)])
    return rows


def vidcom2(features: Tensor) -> tuple[Table, Vector]:
    """Values, and the frames' weights."""
    video = features.double().tolist()
    tokens = [token for frame in video for token in frame]
    middle = mean(tokens)
    spreads = [sum((token[c] - middle[c]) ** 2 for token in tokens) for c in range(len(middle))]
    steady = sorted(range(len(middle)), key=lambda c: (spreads[c], c))[: max(len(middle) // 2, 1)]
    units = [[unit([token[c] for c in steady]) for token in frame] for frame in video]
    centres = [mean(frame) for frame in units]
    whole = mean([token for frame in units for token in frame])

    def likeness(token: Vector, centre: Vector) -> float:
        square = norm(minus(token, centre)) ** 2
        return sum(exp(-square / (2 * a)) for a in (0.125, 0.25, 0.5, 1, 2))

    unique = [-sum(likeness(token, whole) for token in frame) / len(frame) for frame in units]
    parts = [exp((s - max(unique)) / 0.01) for s in unique]
    weights = [1 + part / sum(parts) - 1 / len(parts) for part in parts]
    values = [
        [-likeness(token, whole) - likeness(token, centre) for token in frame]
        for frame, centre in zip(units, centres, strict=True)
    ]
    return values, weights


def vcast(features: Tensor) -> tuple[Table, Vector]:
    """Values, and the frames' weights."""
    video = features.double().tolist()
    path = [unit(mean(frame)) for frame in video]
    bends = []
    for t in range(len(path)):
        if t in (0, len(path) - 1):
            bends.append(1.0)
        else:
            bends.append(1 - dot(unit(minus(path[t], path[t - 1])), unit(minus(path[t + 1], path[t]))))
    values = []
    for frame, centre in zip(video, path, strict=True):
        sizes = [norm(token) for token in frame]
        low, spread = min(sizes), max(sizes) - min(sizes)
        values.append(
            [
                1 - dot(unit(token), centre) + ((size - low) / spread if spread else 0)
                for token, size in zip(frame, sizes, strict=True)
            ]
        )
    return values, [exp(bend / 0.7) for bend in bends]


def divprune(features: Tensor, count: int) -> tuple[list[int], float]:
    """The tokens in the order in which they are chosen, and the narrowest lead of any of them."""
    tokens = [unit(token) for frame in features.double().tolist() for token in frame]
    distances = [[1 - dot(a, b) for b in tokens] for a in tokens]
    everyone = range(len(tokens))
    gain = [min((distances[j][i] for i in everyone if i != j), default=0) for j in everyone]
    chosen: list[int] = []
    lead = inf
    while len(chosen) < count:
        ranked = sorted((j for j in everyone if j not in chosen), key=lambda j: (-gain[j], j))
        if len(ranked) > 1:
            lead = min(lead, gain[ranked[0]] - gain[ranked[1]])
        chosen.append(ranked[0])
        gain = [min(distances[j][s] for s in chosen) for j in everyone]
    return chosen, lead


def assert_highest(mask: list[bool], values: Vector) -> None:
    """The marked values are the highest."""
    kept = [value for value, marked in zip(values, mask, strict=True) if marked]
    dropped = [value for value, marked in zip(values, mask, strict=True) if not marked]
    assert min(kept, default=inf) >= max(dropped, default=-inf) - TIE


def assert_highest_in_frames(mask: Tensor, values: Table) -> None:
    for row, frame in zip(mask.tolist(), values, strict=True):
        assert_highest(row, frame)


def assert_shared(counts: list[int], weights: Vector, f: int, tolerance: float) -> None:
    """Whole numbers nearest to shares in proportion to the weights, the largest remainders rounded up."""
    total = sum(counts)
    least = 1 if total >= len(weights) else 0

    def clamped(c: float) -> Vector:
        return [min(max(c * weight, least), f) for weight in weights]

    low, high = 0.0, f / min(weights)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(clamped(middle)) < total else (low, middle)
    shares = clamped(high)
    gaps = [count - share for count, share in zip(counts, shares, strict=True)]
    assert all(abs(gap) < 1 + tolerance for gap in gaps)
    # A count above its share was rounded up, from a remainder of 1 - gap; one below was not, from -gap.
    up = [1 - gap for gap in gaps if gap > tolerance]
    down = [-gap for gap in gaps if gap < -tolerance]
    assert min(up, default=inf) >= max(down, default=-inf) - tolerance
