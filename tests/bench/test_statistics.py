"""The intervals and the test against published values."""

from itertools import product
from math import erfc, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.bench.statistics import clustered, compare, sign_flip, wilson


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_is_that_of_the_tables(right, n, low, high):
    found = wilson(right / n, n)
    assert found == pytest.approx((low, high), abs=5e-5)
    below, above = wilson(1 - right / n, n)
    assert (1 - above, 1 - below) == pytest.approx(found)


@settings(deadline=None)
@given(answers=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from("ab")), min_size=1))
def test_an_interval_holds_the_share_and_stays_within_bounds(answers):
    share = clustered(*zip(*answers, strict=True))
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.high > share.low


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
def test_with_a_clip_for_each_question_it_is_mcnemars_test(better, worse, p):
    assert sign_flip([1] * better + [-1] * worse) == pytest.approx(p, abs=5e-5)
    assert sign_flip([-1] * better + [0, 0] + [1] * worse) == pytest.approx(p, abs=5e-5)


@settings(deadline=None, max_examples=50)
@given(sums=st.lists(st.integers(-4, 4), max_size=9))
def test_the_sign_flip_test_counts_every_outcome(sums):
    signs = list(product((-1, 1), repeat=len(sums)))
    outcomes = [sum(sign * each for sign, each in zip(chosen, sums, strict=True)) for chosen in signs]
    extreme = sum(abs(outcome) >= abs(sum(sums)) for outcome in outcomes)
    assert sign_flip(sums) == pytest.approx(extreme / len(outcomes))


def test_three_questions_of_one_clip_are_one_piece_of_evidence():
    assert sign_flip([3] * 5) == sign_flip([1] * 5) == 2 / 2**5 > sign_flip([1] * 15)


def test_the_sign_flip_test_of_thousands_of_clips():
    # The normal tail, with the correction for continuity: sums are two apart.
    assert sign_flip([1] * 3300 + [-1] * 3000) == pytest.approx(erfc(299 / sqrt(2 * 6300)), rel=0.01)


def test_a_clip_for_each_question_gives_the_paired_interval():
    first = [True] * 60 + [False] * 40
    second = [True] * 45 + [False] * 15 + [True] * 5 + [False] * 35
    found = compare(first, second, range(100))
    assert (found.n, found.clusters, found.better, found.worse) == (100, 100, 15, 5)
    assert found.difference == pytest.approx(0.1)
    # b + c - (b - c)^2 / n = 20 - 1 over n (n - 1).
    error = sqrt(19 / (100 * 99))
    assert (found.low, found.high) == pytest.approx((0.1 - 1.959964 * error, 0.1 + 1.959964 * error))
    assert found.p == sign_flip([1] * 15 + [-1] * 5)


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
    assert tripled.p == alone.p


def test_the_same_answers_do_not_differ():
    found = compare([True, False], [True, False], ["a", "b"])
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_one_clip_has_no_interval():
    found = compare([True, True], [True, False], ["a", "a"])
    assert (found.low, found.high, found.difference) == (None, None, 0.5)


def interval(*given) -> tuple[float, float]:
    share = clustered(*given)
    return share.low, share.high


def test_a_clip_to_each_question_gives_wilsons_interval():
    right = [index % 4 > 0 for index in range(400)]
    share = clustered(right, range(400))
    assert (share.n, share.clusters, share.right, share.value) == (400, 400, 300, 0.75)
    assert (share.low, share.high) == pytest.approx(wilson(0.75, 399))


def test_copies_of_a_question_narrow_no_interval():
    right = [index % 4 > 0 for index in range(120)]
    copies = [one for one in right for _ in range(3)]
    share = clustered(copies, [index // 3 for index in range(360)])
    assert (share.n, share.clusters) == (360, 120)
    assert (share.low, share.high) == pytest.approx(interval(right, range(120)))
    low, high = interval(copies, range(360))
    assert share.low < low < high < share.high


def test_an_effective_number_by_hand():
    """Shares 1, 1, 0 and 0 in clips of two: v = 4/3 x 4 x (2 x 0.5 / 8)^2 = 1/12, m = 0.25 / v = 3."""
    assert interval([True] * 4 + [False] * 4, [0, 0, 1, 1, 2, 2, 3, 3]) == pytest.approx(wilson(0.5, 3))


def test_clips_alike_narrow_no_interval_below_that_of_their_questions():
    found = interval([True, False] * 20, [index // 2 for index in range(40)])
    assert found == pytest.approx(wilson(0.5, 40))


@pytest.mark.parametrize("value", [True, False])
def test_where_nothing_varies_a_clip_counts_once(value):
    assert interval([value] * 30, [index // 3 for index in range(30)]) == wilson(value, 10)
    assert interval([True, False], ["a", "a"]) == wilson(0.5, 1)


def test_groups_count_equally():
    """One family of 10 with 9 right, one of 90 with 9 right: their mean is a half, all questions 18 %."""
    right = [True] * 9 + [False] + [True] * 9 + [False] * 81
    share = clustered(right, range(100), ["few"] * 10 + ["many"] * 90)
    assert (share.value, share.right) == (pytest.approx(0.5), 18)
    variance = 100 / 99 * (0.9 * 0.1 / 10 + 0.1 * 0.9 / 90) / 4
    assert (share.low, share.high) == pytest.approx(wilson(0.5, 0.25 / variance))


@pytest.mark.parametrize(("share", "n"), [(-0.1, 4), (1.1, 4), (0.5, 0)])
def test_impossible_shares_are_refused(share, n):
    with pytest.raises(ValueError, match=r"give a share in \[0, 1\] and n above 0"):
        wilson(share, n)


def test_answers_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="give equally many"):
        compare([True], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="give equally many"):
        compare([], [], [])
    for wrong in (([], []), ([True], ["a", "b"]), ([True], ["a"], ["x", "y"])):
        with pytest.raises(ValueError, match="give equally many"):
            clustered(*wrong)
