"""How far a share can be trusted, and whether two methods differ on the same questions."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

import numpy as np

__all__ = ["Comparison", "Share", "clustered", "compare", "sign_flip", "wilson"]

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: all intervals hold 95 %."""


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


def clustered(
    right: Sequence[bool], clusters: Sequence[Hashable], groups: Sequence[Hashable] | None = None
) -> Share:
    """Computes a share and its 95 % interval over questions of which several may be about one clip.

    The share p is the mean over F groups of the share of each; without groups, that of all questions. With
    `e_i = (y_i - p_group) / (F n_group)` for question i, the linearised variance over G clips is
    `v = G / (G - 1) sum_g (sum_(i in g) e_i)^2`. The interval is Wilson's for `m = p (1 - p) / v` questions,
    the effective number, but for no more than there are (Dean and Pagano 2015). With p of 0 or 1, or a single
    clip, v says nothing, and m is G: a clip counts once. With a clip to each question, m is G - 1, or G
    there.

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
    number, spread = float(len(errors)), share * (1 - share)
    if spread and number > 1:
        variance = number / (number - 1) * sum(error**2 for error in errors.values())
        number = spread / max(variance, spread / n)
    return Share(n, len(errors), hits.total(), share, *wilson(share, number))


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

    With `d_i` in {-1, 0, 1} the difference on question i, D their mean, and G clips, the interval is
    `D -+ 1.96 sqrt(G / (G - 1) sum_g (sum_(i in g) (d_i - D))^2) / n`: questions about one clip may depend on
    each other, clips may not. With every question a clip of its own it is the usual paired interval. Where no
    question differs, its width of zero says no more than that.

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
        squares = sum((sums[clip] - size * mean) ** 2 for clip, size in sizes.items())
        spread = sqrt(len(sizes) / (len(sizes) - 1) * squares) / n
        low, high = mean - Z * spread, mean + Z * spread
    return Comparison(n, len(sizes), better, worse, mean, low, high, sign_flip(sums.values()))
