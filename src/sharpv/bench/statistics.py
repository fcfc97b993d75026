"""How far a share can be trusted, and whether two methods differ on the same questions."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import sqrt

__all__ = ["Comparison", "Share", "compare", "mcnemar", "wilson"]

Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution: all intervals hold 95 %."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of right answers.

    Attributes:
        n: questions.
        right: how many were answered right.
        low: lower end of the 95 % Wilson interval.
        high: upper end.
    """

    n: int
    right: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share itself."""
        return self.right / self.n


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
        p: of the exact McNemar test, which takes the questions as independent.
    """

    n: int
    clusters: int
    better: int
    worse: int
    difference: float
    low: float | None
    high: float | None
    p: float


def wilson(right: int, n: int) -> Share:
    """Computes the 95 % score interval of a share (Wilson 1927), without continuity correction.

    `(2 k + z^2 -+ z sqrt(z^2 + 4 k (n - k) / n)) / (2 (n + z^2))` for k of n.

    Raises:
        ValueError: no question, or a count outside 0..n.
    """
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: give 0 <= right <= n with n of at least 1")
    middle, spread = 2 * right + Z**2, Z * sqrt(Z**2 + 4 * right * (n - right) / n)
    low, high = ((middle + sign * spread) / (2 * (n + Z**2)) for sign in (-1, 1))
    return Share(n, right, 0.0 if right == 0 else low, 1.0 if right == n else high)


def mcnemar(better: int, worse: int) -> float:
    """Computes the two-sided p of the exact McNemar test: `min(1, 2 P(X <= min(b, c)))`, X ~ Bin(b + c, 1/2).

    Args:
        better: pairs that only the first method got right, b.
        worse: pairs that only the second did, c.
    """
    trials = better + worse
    ways = tail = 1
    for k in range(min(better, worse)):
        ways = ways * (trials - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**trials)


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
    sums: dict[Hashable, float] = {}
    for clip, value in zip(clusters, apart, strict=True):
        sums[clip] = sums.get(clip, 0.0) + value - mean
    low = high = None
    if len(sums) > 1:
        spread = sqrt(len(sums) / (len(sums) - 1) * sum(value**2 for value in sums.values())) / n
        low, high = mean - Z * spread, mean + Z * spread
    return Comparison(n, len(sums), better, worse, mean, low, high, mcnemar(better, worse))
