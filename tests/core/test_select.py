"""Counts and choice of tokens: every mode against the float64 loops, and against rules written again here."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sharpv.config import SharpVConfig
from sharpv.core import Scores, anchor_order, keep_mask, reference, score, select, token_counts, token_grid
from sharpv.errors import InputError

CONFIGS = [
    SharpVConfig(),
    SharpVConfig(min_tokens_per_frame=0),
    SharpVConfig(min_tokens_per_frame=4),
    SharpVConfig(spatial_weight=0.0),
    SharpVConfig(coverage=0.5),
    SharpVConfig(coverage=1.0),
    SharpVConfig(threshold=1.6),
    SharpVConfig(threshold=1.9, coverage=0.3, min_tokens_per_frame=2),
    SharpVConfig(retention=0.12),
    SharpVConfig(retention=0.4, coverage=0.5, min_tokens_per_frame=3),
    SharpVConfig(retention=1.0),
    SharpVConfig(bucket=4),
    SharpVConfig(bucket=1000),
    SharpVConfig(threshold=1.6, bucket=7),
    SharpVConfig(retention=0.4, coverage=0.5, bucket=16),
    SharpVConfig(diversity=True),
    SharpVConfig(retention=0.4, coverage=0.5, diversity=True),
    SharpVConfig(threshold=1.6, coverage=0.3, diversity=True, bucket=7),
    SharpVConfig(retention=1.0, diversity=True),
]
SHAPES = [(1, 1, 1), (1, 21, 7), (5, 1, 13), (3, 49, 17), (7, 13, 31), (9, 24, 5)]
SHAPE = st.tuples(st.integers(1, 7), st.integers(1, 12), st.integers(2, 6))
SEED = st.integers(0, 2**31)


def features_of(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    # Motion that differs from frame to frame, so that frames get different counts.
    motion = torch.rand(shape[0], 1, 1, generator=generator)
    return torch.randn(shape[1:], generator=generator) + motion * torch.randn(*shape, generator=generator)


def scores_of(importance, ratios=None):
    importance = torch.as_tensor(importance, dtype=torch.float32)
    ratios = (
        torch.full((len(importance),), 0.5)
        if ratios is None
        else torch.as_tensor(ratios, dtype=torch.float32)
    )
    return Scores(importance, torch.zeros_like(importance), importance, ratios)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_mask_equals_the_reference(shape, config, device):
    features = features_of(shape)
    mask = keep_mask(features.to(device), config)
    assert mask.dtype == torch.bool
    assert torch.equal(mask.cpu(), reference.keep_mask(features, config))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_mask_equals_the_reference_in_every_dtype(dtype, device):
    features = features_of((4, 30, 24)).to(dtype)
    config = SharpVConfig(coverage=0.3)
    assert torch.equal(keep_mask(features.to(device), config).cpu(), reference.keep_mask(features, config))


@given(SHAPE, SEED, st.sampled_from(CONFIGS))
@settings(max_examples=80, deadline=None)
def test_equal_scores_give_the_reference_bit_for_bit(shape, seed, config):
    n, f, d = shape
    generator = torch.Generator().manual_seed(seed)
    # Few distinct values: ties everywhere, among tokens and among frames.
    importance = torch.randint(0, 5, (n, f), generator=generator) / 2
    scores = scores_of(importance, torch.randint(0, 5, (n,), generator=generator) / 4)
    assert token_counts(scores, config).tolist() == reference.token_counts(scores, config)
    features = torch.eye(d)[torch.randint(0, d, (n, f), generator=generator)]
    expected = reference.select(scores, config, features=features)
    assert torch.equal(select(scores, config, features=features), expected)


@given(SHAPE, SEED)
@settings(max_examples=40, deadline=None)
def test_without_coverage_it_is_the_paper(shape, seed):
    features = features_of(shape, seed)
    scores, mask = score(features), keep_mask(features, SharpVConfig(min_tokens_per_frame=0))
    for t in range(shape[0]):
        k = math.ceil(float(scores.ratios[t]) * shape[1] - 1e-5 * shape[1])
        importance = scores.importance[t].tolist()
        best = sorted(sorted(range(shape[1])), key=lambda i, row=importance: row[i], reverse=True)[:k]
        assert mask[t].nonzero().flatten().tolist() == sorted(best)


@given(SHAPE, SEED, st.floats(0.001, 1), st.integers(0, 4), st.sampled_from([0.0, 0.5]))
@settings(max_examples=80, deadline=None)
def test_a_budget_is_exact(shape, seed, retention, least, coverage):
    n, f, _ = shape
    config = SharpVConfig(retention=retention, min_tokens_per_frame=least, coverage=coverage)
    per_frame = keep_mask(features_of(shape, seed), config).sum(-1)
    assert per_frame.sum() == max(round(retention * n * f), n * min(least, f))
    assert per_frame.min() >= min(least, f)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=9),
    st.integers(1, 9),
    st.integers(0, 9),
    st.floats(0.001, 1),
)
@settings(max_examples=150, deadline=None)
def test_budget_shares_equal_the_reference(eighths, f, least, retention):
    scores = scores_of(torch.zeros(len(eighths), f), [e / 8 for e in eighths])
    config = SharpVConfig(retention=retention, min_tokens_per_frame=least)
    assert token_counts(scores, config).tolist() == reference.token_counts(scores, config)


@pytest.mark.parametrize(
    ("ratios", "f", "retention", "least", "expected"),
    [
        ([0.1, 0.2, 0.3], 10, 0.4, 1, [2, 4, 6]),
        ([0.0, 0.0, 0.0], 10, 0.4, 1, [4, 4, 4]),
        ([0.0, 0.0, 0.0], 10, 1 / 3 + 1e-3, 1, [4, 3, 3]),
        ([0.9, 0.0, 0.0], 10, 0.6, 1, [10, 4, 4]),
        ([0.9, 0.3, 0.0], 10, 0.5, 0, [10, 5, 0]),
        ([0.9, 0.1, 0.0], 10, 0.03, 2, [2, 2, 2]),
        ([0.5, 0.5], 3, 0.5, 0, [2, 1]),
        ([0.5, 0.5, 0.5], 3, 0.45, 0, [2, 1, 1]),
    ],
)
def test_budget_by_hand(ratios, f, retention, least, expected):
    scores = scores_of(torch.zeros(len(ratios), f), ratios)
    config = SharpVConfig(retention=retention, min_tokens_per_frame=least)
    assert token_counts(scores, config).tolist() == expected
    assert reference.token_counts(scores, config) == expected


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(0.0, 0), (3e-7, 0), (0.5, 5), (0.5 + 3e-7, 5), (0.5 - 3e-7, 5), (0.501, 6), (1.0, 10)],
)
def test_rounding_noise_costs_no_token(ratio, expected):
    scores = scores_of(torch.zeros(1, 10), [ratio])
    config = SharpVConfig(min_tokens_per_frame=0)
    assert token_counts(scores, config).tolist() == [expected] == reference.token_counts(scores, config)


@pytest.mark.parametrize("spatial_weight", [0.0, 1.0])
def test_retention_1_keeps_all(spatial_weight):
    features = features_of((6, 15, 4))
    features[3:] = features[2]
    assert keep_mask(features, SharpVConfig(retention=1.0, spatial_weight=spatial_weight)).all()


def test_threshold_keeps_what_reaches_it():
    scores = scores_of([[0.5, 1.5, 1.0, 2.0], [0.1, 0.2, 0.4, 0.3]])
    assert select(scores, SharpVConfig(threshold=1.0)).tolist() == [
        [False, True, True, True],
        [False, False, True, False],
    ]
    assert not select(scores, SharpVConfig(threshold=1.0, min_tokens_per_frame=0))[1].any()


def test_ties_go_to_the_lower_index(device):
    scores = scores_of(torch.ones(2, 100))
    mask = select(Scores(*(part.to(device) for part in scores)), SharpVConfig())
    assert mask.cpu().tolist() == [[True] * 50 + [False] * 50] * 2


@given(SEED, st.integers(2, 6), st.integers(1, 5), st.integers(1, 5), st.floats(0.05, 1))
@settings(max_examples=50, deadline=None)
def test_coverage_takes_the_same_nested_positions_in_every_frame(seed, n, rows, cols, coverage):
    features = features_of((n, rows * cols, 8), seed)
    plain = keep_mask(features, SharpVConfig())
    mask = keep_mask(features, SharpVConfig(coverage=coverage), grid=(rows, cols))
    assert torch.equal(plain.sum(-1), mask.sum(-1))
    order = anchor_order(rows, cols)
    for row in mask:
        assert row[list(order[: round(coverage * int(row.sum()))])].all()
    if coverage == 1:
        smaller, larger = sorted(mask, key=lambda row: int(row.sum()))[:: len(mask) - 1]
        assert (larger | ~smaller).all()


def test_coverage_leaves_the_rest_to_importance():
    importance = torch.zeros(1, 9)
    importance[0, 8] = 1
    kept = select(scores_of(importance, [2 / 9]), SharpVConfig(coverage=0.5), grid=(3, 3))
    assert set(kept[0].nonzero().flatten().tolist()) == {anchor_order(3, 3)[0], 8}


def video_of(*angles):
    """One frame of unit vectors at these angles, in degrees."""
    radians = torch.tensor(angles).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=-1).unsqueeze(0)


def test_diversity_passes_over_what_resembles_a_chosen_token():
    # First 0 (I = 3). To it, 1 - cos is 0.015 at 10, 1 at 90 and 2 at 180 degrees: gains 0.04, 0.8 and 0.6.
    features, importance = video_of(0.0, 10.0, 90.0, 180.0), [[3.0, 2.9, 0.8, 0.3]]
    scores = scores_of(importance, [0.5])
    kept = select(scores, SharpVConfig(diversity=True), features=features)
    assert kept.tolist() == [[True, False, True, False]]
    assert select(scores, SharpVConfig()).tolist() == [[True, True, False, False]]


def test_diversity_looks_at_the_anchors_too():
    # The anchor of a 1 x 3 grid is place 1; the copy of it has no gain, however important.
    assert anchor_order(1, 3)[0] == 1
    scores = scores_of([[0.1, 0.0, 9.0]], [0.6])
    config = SharpVConfig(diversity=True, coverage=0.5)
    kept = select(scores, config, grid=(1, 3), features=video_of(120.0, 0.0, 0.0))
    assert kept.tolist() == [[True, True, False]]


def test_diversity_among_copies_and_zeros_takes_the_lower_index():
    scores = scores_of([[1.0] * 4, [1.0] * 4], [0.5, 0.5])
    features = torch.stack([torch.ones(4, 3), torch.zeros(4, 3)])
    kept = select(scores, SharpVConfig(diversity=True), features=features)
    assert kept.tolist() == [[True, True, False, False]] * 2


def test_diversity_is_not_told_by_autocast_to_look_less_closely():
    features, config = features_of((8, 64, 32)), SharpVConfig(retention=0.25, coverage=0.5, diversity=True)
    plain = keep_mask(features, config)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(keep_mask(features, config), plain)


def test_diversity_needs_features():
    with pytest.raises(InputError, match=r"no features to compare: pass select\(..., features=...\)"):
        select(scores_of([[1.0, 2.0]]), SharpVConfig(diversity=True))


@given(
    SHAPE,
    SEED,
    st.sampled_from([{}, {"retention": 0.2}, {"threshold": 1.6}, {"min_tokens_per_frame": 0}]),
    st.sampled_from([0.0, 0.5]),
    st.integers(1, 40),
)
@settings(max_examples=80, deadline=None)
def test_a_bucket_is_filled_by_the_most_important_others(shape, seed, mode, coverage, bucket):
    scores = score(features_of(shape, seed))
    plain = select(scores, SharpVConfig(**mode, coverage=coverage)).flatten()
    mask = select(scores, SharpVConfig(**mode, coverage=coverage, bucket=bucket)).flatten()
    assert mask.sum() == min(math.ceil(int(plain.sum()) / bucket) * bucket, len(mask))
    assert mask[plain].all()
    added, left = scores.importance.flatten()[mask & ~plain], scores.importance.flatten()[~mask]
    assert not len(added) or not len(left) or added.min() >= left.max()


def test_a_bucket_by_hand():
    scores = scores_of([[0.9, 0.1, 0.6, 0.6], [0.6, 0.9, 0.2, 0.6]], [0.25, 0.25])
    assert select(scores, SharpVConfig(bucket=4)).int().tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]
    assert select(scores, SharpVConfig(bucket=5)).int().tolist() == [[1, 0, 1, 1], [1, 1, 0, 0]]
    assert select(scores, SharpVConfig(bucket=2)).int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert select(scores, SharpVConfig(bucket=9)).all()


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (7, 7), (14, 14), (5, 23), (40, 30)])
def test_the_anchor_order_holds_every_cell_once(grid):
    assert sorted(anchor_order(*grid)) == list(range(grid[0] * grid[1]))


def test_the_anchor_order_starts_with_the_plastic_number_sequence():
    # x = .37, .1249, .8798; y = .61, .1798, .7497 on a 7 x 7 grid.
    assert anchor_order(7, 7)[:3] == (4 * 7 + 2, 1 * 7 + 0, 5 * 7 + 6)


@pytest.mark.parametrize("quarter", [0, 1, 2, 3])
def test_every_beginning_of_the_anchor_order_is_spread(quarter):
    cells = torch.tensor(anchor_order(14, 14)[:20])
    in_quarter = (cells // 14 >= 7).int() * 2 + (cells % 14 >= 7).int()
    assert 3 <= (in_quarter == quarter).sum() <= 7


@pytest.mark.parametrize(("f", "expected"), [(1, (1, 1)), (13, (1, 13)), (196, (14, 14)), (210, (14, 15))])
def test_the_default_grid_is_the_most_square(f, expected):
    assert token_grid(f) == expected


@pytest.mark.parametrize("grid", [(3, 4), (0, 0), (-2, -5), (10, 2)])
def test_a_grid_that_does_not_fit_is_refused(grid):
    with pytest.raises(InputError, match="whose product is 10"):
        keep_mask(features_of((2, 10, 3)), SharpVConfig(), grid=grid)


@pytest.mark.parametrize("config", [SharpVConfig(), SharpVConfig(retention=0.3, coverage=0.5)], ids=str)
def test_torch_compile_changes_nothing(config):
    features = features_of((3, 12, 8))

    def kept(x):
        return x[keep_mask(x, config)] * 2

    assert torch.equal(torch.compile(kept, backend="eager")(features), kept(features))
