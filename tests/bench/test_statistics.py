"""The intervals and the test against published values."""

from itertools import product
from math import erfc, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.bench.statistics import clustered, clustered_mean, compare, sign_flip, student, tango, wilson


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


@pytest.mark.parametrize(
    ("better", "worse", "n", "low", "high"),
    [
        (1, 7, 21, -0.517, -0.026),  # Fagerland, Lydersen and Laake (2014), airway hyper-responsiveness
        # By hand: the equation is linear in D where none differs, and where all do.
        (0, 0, 50, -(1.959964**2) / (50 + 1.959964**2), 1.959964**2 / (50 + 1.959964**2)),
        (8, 0, 8, (8 - 1.959964**2) / (8 + 1.959964**2), 1),
    ],
)
def test_tangos_interval(better, worse, n, low, high):
    assert tango(better, worse, n) == pytest.approx((low, high), abs=5e-4)
    below, above = tango(worse, better, n)
    assert (-above, -below) == pytest.approx(tango(better, worse, n))


def test_tangos_interval_ends_where_the_score_test_does():
    """The likeliest q of each D sought among many, with no formula for it."""
    better, worse, n = 9, 2, 40
    q = np.linspace(1e-6, 0.999, 200_001)
    for limit in tango(better, worse, n):
        p, rest = q + limit, 1 - 2 * q - limit
        held = (p > 0) & (rest > 0)
        likelihood = better * np.log(p[held]) + worse * np.log(q[held]) + (n - 11) * np.log(rest[held])
        share = q[held][likelihood.argmax()]
        deviation = sqrt(n * (2 * share + limit - limit**2))
        assert abs(better - worse - n * limit) / deviation == pytest.approx(1.959964, rel=1e-3)


def test_with_few_pairs_that_differ_tangos_interval_still_holds():
    """Not a draw: the chance of each table of 40 pairs, and whether its interval holds the truth."""
    n = 40
    tables = [(better, worse) for better in range(n + 1) for worse in range(n + 1 - better)]
    limits = np.array([tango(*table, n) for table in tables])
    logs = np.cumsum([0.0, *np.log(np.arange(1, n + 1))])
    b, c = np.array(tables).T
    ways = logs[n] - logs[b] - logs[c] - logs[n - b - c]
    for p, q in ((0.01, 1e-9), (0.03, 0.01), (0.05, 0.05), (0.2, 1e-9), (0.3, 0.1)):
        chances = np.exp(ways + b * np.log(p) + c * np.log(q) + (n - b - c) * np.log(1 - p - q))
        assert chances.sum() == pytest.approx(1)
        assert chances[(limits[:, 0] <= p - q) & (p - q <= limits[:, 1])].sum() > 0.92, (p, q)


@pytest.mark.parametrize("alike", [0, 0.6, 1], ids=str)
@pytest.mark.parametrize(("p", "q"), [(0.01, 0), (0.03, 0.01), (0.3, 0.1)])
def test_with_few_clips_that_differ_the_paired_interval_still_holds(alike, p, q):
    """60 clips of 3 questions, of which a part does as the clip does, and the others for themselves."""
    rng, held, runs = np.random.default_rng(0), 0, 200
    clips = [index // 3 for index in range(180)]
    for _ in range(runs):
        chances = [p, q, 1 - p - q]
        clip = rng.choice([1, -1, 0], (60, 1), p=chances)
        apart = np.where(rng.random((60, 3)) < alike, clip, rng.choice([1, -1, 0], (60, 3), p=chances))
        found = compare((apart > 0).flatten(), (apart < 0).flatten(), clips)
        held += found.low <= p - q <= found.high
    assert held / runs > 0.92


def test_a_clip_for_each_question_gives_tangos_interval():
    first = [True] * 60 + [False] * 40
    second = [True] * 45 + [False] * 15 + [True] * 5 + [False] * 35
    found = compare(first, second, range(100))
    assert (found.n, found.clusters, found.better, found.worse) == (100, 100, 15, 5)
    assert found.difference == pytest.approx(0.1)
    # As in `clustered`, G / (G - 1) takes one off: 99 questions.
    assert (found.low, found.high) == pytest.approx(tango(15 * 0.99, 5 * 0.99, 99))
    assert found.p == sign_flip([1] * 15 + [-1] * 5)


@pytest.mark.parametrize(("first", "low", "high"), [(True, 0.3512, 1), (False, -0.3244, 0.3244)])
def test_where_all_pairs_are_alike_a_clip_counts_once(first, low, high):
    """With z^2 = 3.8415: (8 - z^2) / (8 + z^2), and z^2 / (8 + z^2)."""
    for copies in (1, 3):
        clips = [index // copies for index in range(8 * copies)]
        found = compare([first] * 8 * copies, [False] * 8 * copies, clips)
        assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_a_paired_interval_by_hand():
    """Clips of two: one twice better, three alike: D = 1/4, v = 4/3 x (1.5^2 + 3 x 0.5^2) / 8^2 = 1/16.

    A single d has the variance 2/8 - 1/16 = 3/16, so m = 3, of which 3/4 are better.
    """
    found = compare([True] * 2 + [False] * 6, [False] * 8, [0, 0, 1, 1, 2, 2, 3, 3])
    assert (found.low, found.high) == pytest.approx(tango(0.75, 0, 3))


def test_pairs_alike_narrow_no_interval_below_that_of_their_questions():
    found = compare([True, False] * 20, [False, True] * 20, [index // 2 for index in range(40)])
    assert (found.low, found.high) == pytest.approx(tango(20, 20, 40))


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
    assert (found.difference, found.p) == (0, 1)
    assert (found.low, found.high) == tango(0, 0, 2)


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


def test_where_nothing_varies_within_a_group_a_clip_counts_once():
    """Of two families one is always right and one never: each clip moves the mean by nothing."""
    clips = [index // 3 for index in range(30)]
    assert interval([True, True, False] * 10, clips, ["a", "a", "b"] * 10) == wilson(0.5, 10)


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


@pytest.mark.parametrize("given", [(0, 0, 0), (-1, 2, 4), (3, 2, 4)], ids=str)
def test_impossible_pairs_are_refused(given):
    with pytest.raises(ValueError, match="give counts that add up to n at most"):
        tango(*given)


def test_answers_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="give equally many"):
        compare([True], [True, False], ["a", "b"])
    with pytest.raises(ValueError, match="give equally many"):
        compare([], [], [])
    for wrong in (([], []), ([True], ["a", "b"]), ([True], ["a"], ["x", "y"])):
        with pytest.raises(ValueError, match="give equally many"):
            clustered(*wrong)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    # Student's own table, in any textbook.
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (29, 2.045), (120, 1.980)],
)
def test_students_t_is_that_of_the_tables(freedom, quantile):
    assert student(freedom) == pytest.approx(quantile, abs=6e-4)


def test_with_a_value_to_each_clip_the_interval_of_a_mean_is_students():
    """Student (1908), hours of sleep gained with the second drug: 2.33, of standard deviation 2.002."""
    slept = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = clustered_mean(slept, range(10))
    assert (found.n, found.clusters, found.mean) == (10, 10, pytest.approx(2.33))
    assert (found.low, found.high) == pytest.approx((0.898, 3.762), abs=5e-4)


def test_values_of_one_clip_are_one_piece_of_evidence():
    once = clustered_mean([1.0, 2.0, 4.0], "abc")
    thrice = clustered_mean([1.0, 2.0, 4.0] * 3, "abc" * 3)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    alone = clustered_mean([1.0, 2.0], "aa")
    assert (alone.mean, alone.low, alone.high) == (1.5, None, None)
    same = clustered_mean([0.0] * 4, "aabb")
    assert (same.low, same.high) == (0, 0)


@pytest.mark.parametrize(("values", "clusters"), [([], ""), ([1.0], "ab")])
def test_a_mean_of_nothing_is_refused(values, clusters):
    with pytest.raises(ValueError, match="give equally many, at least one"):
        clustered_mean(values, clusters)
