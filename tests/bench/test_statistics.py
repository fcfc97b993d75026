"""The intervals and the test against published values."""

from fractions import Fraction
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.bench.statistics import compare, mcnemar, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_that_of_the_tables(right, n, low, high):
    share = wilson(right, n)
    assert (share.low, share.high) == pytest.approx((low, high), abs=5e-5)
    assert share.value == right / n
    mirrored = wilson(n - right, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((share.low, share.high))


@settings(deadline=None)
@given(n=st.integers(1, 500), data=st.data())
def test_wilson_holds_the_share_and_stays_within_bounds(n, data):
    right = data.draw(st.integers(0, n))
    share = wilson(right, n)
    assert 0 <= share.low <= share.value <= share.high <= 1


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    # Two-sided binomial tests at 1/2, from printed tables of its tails: 6 and 16 is the textbook p = 0.053.
    [
        (16, 6, 0.0525),
        (0, 5, 0.0625),
        (0, 6, 0.03125),
        (10, 2, 0.0386),
        (8, 8, 1.0),
        (0, 0, 1.0),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(better, worse, p):
    assert mcnemar(better, worse) == pytest.approx(p, abs=5e-5)
    assert mcnemar(worse, better) == mcnemar(better, worse)


@settings(deadline=None, max_examples=50)
@given(better=st.integers(0, 40), worse=st.integers(0, 40))
def test_mcnemar_equals_counting_every_outcome(better, worse):
    trials = better + worse
    row = [Fraction(1)]
    for _ in range(trials):
        row = [a + b for a, b in zip([Fraction(0), *row], [*row, Fraction(0)], strict=True)]
    extreme = abs(better - worse)
    both_tails = sum(ways for k, ways in enumerate(row) if abs(2 * k - trials) >= extreme)
    assert mcnemar(better, worse) == pytest.approx(float(both_tails / 2**trials))


def test_mcnemar_of_thousands_of_pairs():
    assert 0 < mcnemar(3000, 3300) < 1e-3


def test_a_clip_for_each_question_gives_the_paired_interval():
    first = [True] * 60 + [False] * 40
    second = [True] * 45 + [False] * 15 + [True] * 5 + [False] * 35
    found = compare(first, second, range(100))
    assert (found.n, found.clusters, found.better, found.worse) == (100, 100, 15, 5)
    assert found.difference == pytest.approx(0.1)
    # b + c - (b - c)^2 / n = 20 - 1 over n (n - 1).
    error = sqrt(19 / (100 * 99))
    assert (found.low, found.high) == pytest.approx((0.1 - 1.959964 * error, 0.1 + 1.959964 * error))
    assert found.p == mcnemar(15, 5)


def test_questions_of_one_clip_are_no_independent_evidence():
    first, second = [True, True, False, True] * 30, [False, True, True, True] * 30
    alone = compare(first, second, range(120))
    copies = compare(first, second, [index // 3 for index in range(120)])
    tripled = compare(
        [a for a in first for _ in range(3)],
        [b for b in second for _ in range(3)],
        [index // 3 for index in range(360)],
    )
    assert copies.difference == alone.difference == tripled.difference == 0
    assert (tripled.low, tripled.high) == pytest.approx((alone.low, alone.high))


def test_the_same_answers_do_not_differ():
    found = compare([True, False], [True, False], ["a", "b"])
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_clip_has_no_interval():
    found = compare([True, True], [True, False], ["a", "a"])
    assert (found.low, found.high, found.difference) == (None, None, 0.5)


@pytest.mark.parametrize("right", [-1, 5])
def test_impossible_counts_are_refused(right):
    with pytest.raises(ValueError, match="0 <= right <= n"):
        wilson(right, 4)
    with pytest.raises(ValueError, match="at least 1"):
        wilson(0, 0)


def test_answers_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="give equally many"):
        compare([True], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="give equally many"):
        compare([], [], [])
