"""The methods that look at attention, again as plain loops in float64."""

from itertools import pairwise

from torch import Tensor

from sharpv.core.select import share_tokens
from tests.methods.merge_twins import Lead, Tokens, blend, cluster
from tests.methods.twins import Table, Vector, change, dot, mean, unit


def nearest(token: Vector, targets: Table, lead: Lead) -> int:
    return lead.first([1 - change(token, target) for target in targets], 1)[0]


def visionzip(features: Tensor, count: int, attention: Tensor) -> tuple[Tokens, float]:
    video, looks, lead = features.double().tolist(), attention.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    kept: Tokens = {}
    for t, share in enumerate(share_tokens(count, [1] * n, 0, f)):
        dominant = lead.first(looks[t], round(191 / 221 * share))
        kept |= {t * f + i: video[t][i] for i in dominant}
        rest = [i for i in range(f) if i not in dominant]
        wanted = share - len(dominant)
        targets = [rest[int(j * (len(rest) - 1) / max(wanted - 1, 1) + 0.5)] for j in range(wanted)]
        groups: dict[int, Table] = {i: [] for i in targets}
        for i in rest:
            if targets and i not in targets:
                groups[targets[nearest(video[t][i], [video[t][j] for j in targets], lead)]].append(
                    video[t][i]
                )
        for i, group in groups.items():
            kept[t * f + i] = blend(0.5, video[t][i], mean(group)) if group else video[t][i]
    return kept, lead.least


def prumerge(features: Tensor, count: int, attention: Tensor, neighbours: int = 32) -> tuple[Tokens, float]:
    video, lead = features.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    kept: Tokens = {}
    for t, share in enumerate(share_tokens(count, [1] * n, 0, f)):
        looks = attention[t].double().tolist()
        looks = [look / sum(looks) for look in looks]
        for i in lead.first(looks, share):
            others = [j for j in range(f) if j != i]
            alike = [1 - change(video[t][i], video[t][j]) for j in others]
            taken = [others[j] for j in lead.first(alike, min(neighbours, f - 1))] if share < f else []
            sums = [own + sum(looks[j] * video[t][j][c] for j in taken) for c, own in enumerate(video[t][i])]
            whole = 1 + sum(looks[j] for j in taken)
            kept[t * f + i] = [value / whole for value in sums]
    return kept, lead.least


def fastvid(features: Tensor, count: int, attention: Tensor) -> tuple[Tokens, float]:
    video, looks, lead = features.double().tolist(), attention.double().tolist(), Lead()
    n, f = len(video), len(video[0])
    frames = [unit(mean(frame)) for frame in video]
    near = [dot(a, b) for a, b in pairwise(frames)]
    lowest = lead.first([-value for value in near], 7)
    starts = {0, *(t + 1 for t in lowest), *(t + 1 for t in range(n - 1) if lead.over(0.9, near[t]))}
    shares = share_tokens(count, [1] * n, 0, f)
    salient = [lead.first(looks[t], share - int(0.4 * share)) for t, share in enumerate(shares)]
    kept: Tokens = {t * f + i: video[t][i] for t in range(n) for i in salient[t]}
    for first, end in pairwise([*sorted(starts), n]):
        segment = range(first, end)
        loose = {t: [i for i in range(f) if i not in salient[t]] for t in segment}
        counts = dict.fromkeys(segment, 0)
        chosen = [t for t in segment if (end - 1 - t) % 4 == 0]
        for _ in range(sum(int(0.4 * shares[t]) for t in segment)):  # one by one to the frame that has least
            open_ones = [t for t in chosen if counts[t] < len(loose[t])]
            open_ones = open_ones or [t for t in segment if t not in chosen and counts[t] < len(loose[t])]
            counts[min(open_ones, key=lambda t: (counts[t], t))] += 1
        anchors = {}
        for t in segment:
            points = [video[t][i] for i in loose[t]]
            if counts[t]:
                anchors[t] = [loose[t][c] for c in cluster(points, counts[t], 4, lead)[0]]
        others = [video[t][i] for t in segment for i in loose[t] if i not in anchors.get(t, [])]
        for t, here in anchors.items():
            groups: list[Table] = [[] for _ in here]
            for token in others:
                groups[nearest(token, [video[t][i] for i in here], lead)].append(token)
            for i, group in zip(here, groups, strict=True):
                own = max(1 / (len(group) + 1), 0.6)
                kept[t * f + i] = blend(own, video[t][i], mean(group)) if group else video[t][i]
    return kept, lead.least
