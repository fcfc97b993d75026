"""How far a share or a mean can be trusted, and whether two methods differ on the same questions."""

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import cos, pi, sin, sqrt, tan
from statistics import fmean

import numpy as np

__all__ = [
    "Comparison",
    "Mean",
    "Share",
    "clustered",
    "clustered_mean",
    "compare",
    "sign_flip",
    "student",
    "tango",
    "wilson",
]

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: all intervals hold 95 %."""

BISECTIONS = 53


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers.

    Attributes:
        n: questions.
        clusters: clips that the questions are about.
        right: how many were answered right.
        value: the share itself.
        low: lower end of the 95 % interval.
        high: upper end.
    """

    n: int
    clusters: int
    right: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean of measured values.

    Attributes:
        n: values.
        clusters: clips that they are of.
        mean: over all values.
        low: lower end of the 95 % interval; None for a single clip.
        high: upper end.
    """

    n: int
    clusters: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods on the same questions.

    Attributes:
        n: questions.
        clusters: clips that the questions are about.
        better: questions that only the first method answered right.
        worse: questions that only the second did.
        difference: share of the first minus share of the second.
        low: lower end of the 95 % interval of the difference; None for a single clip.
        high: upper end.
        p: two-sided, of the exact sign-flip test over clips.
    """

    n: int
    clusters: int
    better: int
    worse: int
    difference: float
    low: float | None
    high: float | None
    p: float


def wilson(share: float, n: float) -> tuple[float, float]:
    """Computes the 95 % score interval of a share (Wilson 1927), without continuity correction.

    `(2 k + z^2 -+ z sqrt(z^2 + 4 k (n - k) / n)) / (2 (n + z^2))` with k = n share.

    Args:
        share: of the right answers, in [0, 1].
        n: of independent questions; need not be whole.

    Raises:
        ValueError: no question, or a share outside its range.
    """
    if n <= 0 or not 0 <= share <= 1:
        raise ValueError(f"a share of {share} of {n} questions: give a share in [0, 1] and n above 0")
    middle, spread = 2 * n * share + Z**2, Z * sqrt(Z**2 + 4 * n * share * (1 - share))
    low, high = ((middle + sign * spread) / (2 * (n + Z**2)) for sign in (-1, 1))
    return 0.0 if share == 0 else low, 1.0 if share == 1 else high


def tango(better: float, worse: float, n: float) -> tuple[float, float]:
    """Computes the 95 % score interval of the difference between two paired shares (Tango 1998).

    It holds every difference D with `(b - c - n D)^2 <= z^2 n (2 q + D (1 - D))`, where q is the share of
    pairs like the c that is the likeliest if D is true: the larger root of
    `2 n q^2 + ((2 n - b + c) D - b - c) q - c D (1 - D)`. Unlike the usual interval, it stays within -1 and
    1, and has a width where no pair differs.

    Args:
        better: pairs b of which only the first is right.
        worse: pairs c of which only the second is.
        n: of independent pairs; none of the three need be whole.

    Raises:
        ValueError: no pair, or more that differ than there are.
    """
    # What is scaled to an effective number may exceed it in the last digit.
    if n <= 0 or min(better, worse) < 0 or better + worse > n * (1 + 1e-9):
        raise ValueError(f"{better} and {worse} of {n} pairs: give counts that add up to n at most, n > 0")

    def holds(difference: float) -> bool:
        rest = difference * (1 - difference)
        half = better + worse - (2 * n - better + worse) * difference
        share = (half + sqrt(max(half**2 + 8 * n * worse * rest, 0.0))) / (4 * n)
        return (better - worse - n * difference) ** 2 <= Z**2 * n * (2 * share + rest)

    limits = []
    for outside in (-1.0, 1.0):
        inside = (better - worse) / n
        for _ in range(BISECTIONS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if holds(middle) else (inside, middle)
        limits.append(inside)
    return limits[0], limits[1]


def clustered(
    right: Sequence[bool], clusters: Sequence[Hashable], groups: Sequence[Hashable] | None = None
) -> Share:
    """Computes a share and its 95 % interval over questions of which several may be about one clip.

    The share p is the mean over F groups of the share of each; without groups, that of all questions. With
    `e_i = (y_i - p_group) / (F n_group)` for question i, the linearised variance over G clips is
    `v = G / (G - 1) sum_g (sum_(i in g) e_i)^2`. The interval is Wilson's for `m = p (1 - p) / v` questions,
    the effective number, but for no more than there are (Dean and Pagano 2015). With a single clip, or where
    the answers of each group are all right or all wrong, v says nothing, and m is G: a clip counts once. With
    a clip to each question, m is G - 1, or G there.

    Args:
        right: whether each question was answered right.
        clusters: the clip of each question.
        groups: the group of each question.

    Raises:
        ValueError: no question, or lists of different lengths.
    """
    n, groups = len(right), [None] * len(right) if groups is None else groups
    if n < 1 or not n == len(clusters) == len(groups):
        raise ValueError(f"{n}, {len(clusters)}, {len(groups)} answers, clips, groups: give equally many")
    sizes, hits = Counter(groups), Counter(group for group, one in zip(groups, right, strict=True) if one)
    share = fmean(hits[group] / size for group, size in sizes.items())
    errors: dict[Hashable, float] = {}
    for clip, group, one in zip(clusters, groups, right, strict=True):
        error = (one - hits[group] / sizes[group]) / (len(sizes) * sizes[group])
        errors[clip] = errors.get(clip, 0.0) + error
    varied = any(0 < hits[group] < size for group, size in sizes.items())
    number = _effective(errors.values(), share * (1 - share) if varied else 0.0, n)
    return Share(n, len(errors), hits.total(), share, *wilson(share, number))


def clustered_mean(values: Sequence[float], clusters: Sequence[Hashable]) -> Mean:
    """Computes the mean of values of which several may be of one clip, and its 95 % interval.

    With `e_i = (x_i - mean) / n`, the linearised variance over G clips is
    `v = G / (G - 1) sum_g (sum_(i in g) e_i)^2`, and the interval `mean -+ t sqrt(v)` with Student's t of
    G - 1 degrees of freedom. Simulated with 2 to 20 clips whose means are log-normal, with a sigma of 0.3 to
    1, it held the truth in 79 to 94 % of the runs, worst where few clips differ by much; a percentile
    bootstrap over clips in 39 to 91 %.

    Args:
        values: at least one.
        clusters: the clip of each.

    Raises:
        ValueError: no value, or lists of different lengths.
    """
    n = len(values)
    if n < 1 or n != len(clusters):
        raise ValueError(f"{n} and {len(clusters)} values and clips: give equally many, at least one")
    mean = fmean(values)
    errors: dict[Hashable, float] = {}
    for clip, value in zip(clusters, values, strict=True):
        errors[clip] = errors.get(clip, 0.0) + (value - mean) / n
    clips = len(errors)
    if clips < 2:
        return Mean(n, clips, mean, None, None)
    width = student(clips - 1) * sqrt(clips / (clips - 1) * sum(error**2 for error in errors.values()))
    return Mean(n, clips, mean, mean - width, mean + width)


def student(freedom: int) -> float:
    """Computes the 97.5 % quantile of Student's t distribution.

    That is the t within which 95 % lie, by the finite series for whole degrees of freedom in theta =
    atan(t / sqrt(freedom)) (Abramowitz and Stegun, 26.7.3 and 26.7.4).

    Args:
        freedom: degrees of freedom, at least 1.
    """

    def within(theta: float) -> float:
        odd = freedom % 2
        term, total = (cos(theta) if odd else 1.0), 0.0
        for step in range(1 + odd, freedom, 2):
            total += term
            term *= cos(theta) ** 2 * step / (step + 1)
        return 2 / pi * (theta + sin(theta) * total) if odd else sin(theta) * total

    low, high = 0.0, pi / 2
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle) < 0.95 else (low, middle)
    return sqrt(freedom) * tan(low)


def _effective(errors: Collection[float], spread: float, n: int) -> float:
    """Returns how many independent questions tell as much about a mean as n of some clips do.

    Args:
        errors: of each clip, by how much it moves the mean.
        spread: variance of a single question; 0 where nothing varies.
        n: questions.
    """
    clips = len(errors)
    if not spread or clips < 2:
        return clips
    variance = clips / (clips - 1) * sum(error**2 for error in errors)
    return spread / max(variance, spread / n)


def sign_flip(sums: Iterable[int]) -> float:
    """Computes the two-sided p of the exact sign-flip test: `P(|sum_g +-s_g| >= |sum_g s_g|)`.

    Were two methods alike, each clip's sum s_g would as likely have the other sign, however much its
    questions depend on each other. With one question to a clip it is the exact McNemar test.

    Args:
        sums: of each clip, questions that only the first method got right less those that only the second
            did.
    """
    sums = [total for total in sums if total]
    reach = sum(map(abs, sums))
    chances = np.zeros(2 * reach + 1)
    chances[reach] = 1.0
    for step in sums:
        chances = (np.roll(chances, step) + np.roll(chances, -step)) / 2
    extreme = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(sums))
    return min(1.0, float(chances[extreme].sum()))


def compare(first: Sequence[bool], second: Sequence[bool], clusters: Sequence[Hashable]) -> Comparison:
    """Compares two methods, question by question.

    With `d_i` in {-1, 0, 1} the difference on question i, D their mean, and G clips, the linearised variance
    of D is `v = G / (G - 1) sum_g (sum_(i in g) (d_i - D))^2 / n^2`: questions about one clip may depend on
    each other, clips may not. The interval is Tango's, with the shares that were found, for
    `m = (mean d^2 - D^2) / v` questions, the effective number, but for no more than there are. Where all d
    are the same, v says nothing, and m is G: a clip counts once. That m questions tell as much as these n is
    an approximation, as it is in `clustered`. Simulated with 20 to 200 clips, the interval held the truth in
    93 to 100 % of the runs; the usual one, `D -+ z sqrt(v)`, in 19 to 96 %, worst where few clips differ.

    Args:
        first: whether the first method was right, per question.
        second: the same of the second method.
        clusters: the clip of each question.

    Raises:
        ValueError: no question, or lists of different lengths.
    """
    n = len(first)
    if n < 1 or not n == len(second) == len(clusters):
        raise ValueError(f"{n}, {len(second)} and {len(clusters)} answers and clips: give equally many")
    apart = [int(one) - int(other) for one, other in zip(first, second, strict=True)]
    better, worse = apart.count(1), apart.count(-1)
    mean = (better - worse) / n
    sizes, sums = Counter(clusters), Counter[Hashable]()
    for clip, value in zip(clusters, apart, strict=True):
        sums[clip] += value
    low = high = None
    if len(sizes) > 1:
        errors = [(sums[clip] - size * mean) / n for clip, size in sizes.items()]
        number = _effective(errors, (better + worse) / n - mean**2, n)
        low, high = tango(better * number / n, worse * number / n, number)
    return Comparison(n, len(sizes), better, worse, mean, low, high, sign_flip(sums.values()))
