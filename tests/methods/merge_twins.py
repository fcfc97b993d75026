"""The methods that merge, again as plain loops in float64: what stands where, and how sure that is."""

from itertools import pairwise
from math import exp, inf

from torch import Tensor

from sharpv.core.select import share_tokens
from tests.methods.twins import Table, Vector, change, divprune, dot, mean, minus, unit

Tokens = dict[int, Vector]


class Lead:
    """The narrowest margin of any decision."""

    def __init__(self) -> None:
        self.least = inf

    def over(self, value: float, bound: float) -> bool:
        self.least = min(self.least, abs(value - bound))
        return value > bound

    def first(self, values: Vector, count: int) -> list[int]:
        """The highest values, the lower index first."""
        order = sorted(range(len(values)), key=lambda i: (-values[i], i))
        if 0 < count < len(values):
            self.least = min(self.least, values[order[count - 1]] - values[order[count]])
        return order[:count]


def blend(own: float, centre: Vector, middle: Vector) -> Vector:
    return [own * a + (1 - own) * b for a, b in zip(centre, middle, strict=True)]


def cluster(points: Table, count: int, neighbours: int, lead: Lead) -> tuple[list[int], list[int]]:
    """Centres, and the centre of each point."""
    m = len(points)
    everyone = range(m)
    if count == m:
        return list(everyone), list(everyone)
    size = sum(dot(p, p) for p in points) / m
    gaps = [[dot(minus(a, b), minus(a, b)) / size for b in points] for a in points]
    density = []
    for i in everyone:
        nearest = sorted(gaps[i][j] for j in everyone if j != i)[:neighbours]
        density.append(exp(-sum(nearest) / len(nearest)))
    if m > 2:  # of two points, both are as dense
        lead.least = min(lead.least, *(b - a for a, b in pairwise(sorted(density))))
    peaks = []
    for i in everyone:
        denser = [j for j in everyone if (-density[j], j) < (-density[i], i)]
        gap = min(gaps[i][j] for j in denser) if denser else max(gaps[i])
        peaks.append(density[i] * gap**0.5)
    centres = sorted(lead.first(peaks, count)) if m > 2 else [0]
    owner = []
    for i in everyone:
        if i in centres:
            owner.append(i)
        else:
            best = lead.first([-gaps[i][c] for c in centres], 1)[0]
            owner.append(centres[best])
    return centres, owner


def thin(groups: list[Tokens], counts: list[int], neighbours: int, own: float, lead: Lead) -> Tokens:
    kept: Tokens = {}
    for group, count in zip(groups, counts, strict=True):
        if count:
            places, points = list(group), list(group.values())
            centres, owner = cluster(points, count, neighbours, lead)
            for c in centres:
                middle = mean([points[i] for i in range(len(points)) if owner[i] == c])
                kept[places[c]] = blend(own, points[c], middle)
    return kept


def merge_still(
    video: list[Table],
    stretches: list[range],
    likeness: Table,
    threshold: float,
    count: int,
    own: float,
    lead: Lead,
) -> Tokens:
    n, f = len(video), len(video[0])
    still = {
        (s, i)
        for s, frames in enumerate(stretches)
        for i in range(f)
        if len(frames) > 1 and lead.over(likeness[s][i], threshold)
    }
    order = sorted(still, key=lambda place: (likeness[place[0]][place[1]], place))
    left = n * f - sum(len(stretches[s]) - 1 for s, _ in still)
    for a, b in pairwise(order):
        lead.least = min(lead.least, likeness[b[0]][b[1]] - likeness[a[0]][a[1]])
    for s, i in order:
        if left < count:
            still.remove((s, i))
            left += len(stretches[s]) - 1
    moved: list[Tokens] = []
    other: list[Tokens] = []
    for s, frames in enumerate(stretches):
        here = [i for i in range(f) if (s, i) in still]
        moved.append({frames[0] * f + i: mean([video[t][i] for t in frames]) for i in here})
        other += [{t * f + i: video[t][i] for i in range(f) if i not in here} for t in frames]
    groups = [group for group in moved + other if group]
    sizes = [len(group) for group in groups]
    counts = share_tokens(count, sizes, int(count >= len(sizes)), max(sizes))
    return thin(groups, counts, 7, own, lead)


def prunevid(features: Tensor, count: int) -> tuple[Tokens, float]:
    video, lead = features.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    _, labels = cluster([mean(frame) for frame in video], max(int(0.25 * n), 1), 7, lead)
    starts = [t for t in range(n) if t == 0 or labels[t] != labels[t - 1]]
    stretches = [range(a, b) for a, b in pairwise([*starts, n])]
    likeness = []
    for frames in stretches:
        pairs = [(a, b) for a in frames for b in frames if a < b]
        likeness.append(
            [
                sum(dot(unit(video[a][i]), unit(video[b][i])) for a, b in pairs) / max(len(pairs), 1)
                for i in range(f)
            ]
        )
    return merge_still(video, stretches, likeness, 0.8, count, 0.0, lead), lead.least


def cosines(video: list[Table]) -> Table:
    """Of each token to the one at its place in the next frame."""
    return [[1 - change(a, b) for a, b in zip(x, y, strict=True)] for x, y in pairwise(video)]


def cuts(n: int) -> list[list[range]]:
    """All the ways to cut n frames into stretches, those of long last stretches first."""
    if n == 0:
        return [[]]
    return [[*before, range(start, n)] for start in range(n) for before in cuts(start)]


def holitom(features: Tensor, count: int) -> tuple[Tokens, float]:
    video, lead = features.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    near = cosines(video)
    alike = [[lead.over(value, 0.8) for value in row] for row in near]

    def saved(frames: range) -> int:
        still = [i for i in range(f) if all(alike[t][i] for t in frames[:-1])]
        return (len(frames) - 1) * len(still)

    stretches = max(cuts(n), key=lambda cut: sum(map(saved, cut)))
    likeness = [[min((near[t][i] for t in s[:-1]), default=0.0) for i in range(f)] for s in stretches]
    return merge_still(video, stretches, likeness, 0.8, count, 0.6, lead), lead.least


def framefusion(features: Tensor, count: int) -> tuple[Tokens, float]:
    video, lead = features.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    near = [value for row in cosines(video) for value in row]
    leaving = {f + j for j in lead.first(near, n * f - count)}
    if count < f:
        leaving |= set(range(f)) - {int(j * (f - 1) / max(count - 1, 1) + 0.5) for j in range(count)}
    runs: dict[int, Table] = {}
    start = list(range(n * f))
    for j in range(n * f):
        if j >= f and j in leaving and not lead.over(0.6, near[j - f]):
            start[j] = start[j - f]
        runs.setdefault(start[j], []).append(video[j // f][j % f])
    return {j: mean(run) for j, run in runs.items() if j not in leaving}, lead.least


def flashvid(features: Tensor, count: int) -> tuple[Tokens, float]:
    video, lead = features.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    shares = share_tokens(count, [1] * n, 0, f)
    apart = set()
    for t, share in enumerate(shares):
        chosen, margin = divprune(features[t : t + 1], round(0.7 * share))
        apart |= {t * f + i for i in chosen}
        if f > 1:
            lead.least = min(lead.least, margin)
    rest = count - len(apart)

    frames = [unit(mean(frame)) for frame in video]
    near = [dot(a, b) for a, b in pairwise(frames)]
    lowest = lead.first([-value for value in near], 7)
    starts = {0, *(t + 1 for t in lowest), *(t + 1 for t in range(n - 1) if lead.over(0.9, near[t]))}
    links = {}
    for t in range(n):
        candidates = [i for i in range(f) if (t - 1) * f + i not in apart]
        for i in range(f):
            if t in starts or t * f + i in apart or not candidates:
                continue
            values = [dot(unit(video[t][i]), unit(video[t - 1][j])) for j in candidates]
            best = lead.first(values, 1)[0]
            if lead.over(values[best], 0.8):
                links[t * f + i] = (values[best], (t - 1) * f + candidates[best])
    tokens = list(links)
    strongest = {tokens[j] for j in lead.first([links[p][0] for p in tokens], n * f - len(apart) - rest)}
    trees: dict[int, Table] = {}
    root = list(range(n * f))
    for j in range(n * f):
        if j in strongest:
            root[j] = root[links[j][1]]
        trees.setdefault(root[j], []).append(video[j // f][j % f])
    alone = {j: tree[0] for j, tree in trees.items() if j in apart}
    groups = [{j: mean(trees[j]) for j in trees if j // f == t and j not in apart} for t in range(n)]
    counts = [0] * n
    while sum(counts) < rest:  # one by one to the frame that has least
        counts[min((c, t) for t, c in enumerate(counts) if c < len(groups[t]))[1]] += 1
    return alone | thin(groups, counts, 7, 0.0, lead), lead.least
