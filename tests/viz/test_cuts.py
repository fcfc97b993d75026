"""Likely cuts, from ratios written by hand."""

import pytest

from sharpv.viz.cuts import likely_cuts


@pytest.mark.parametrize(
    ("ratios", "cuts"),
    [
        ([], ()),
        ([0.9], ()),
        # The first frame's ratio is no change; it is no neighbour either.
        ([0.9, 0.1, 0.1, 0.1, 0.1], ()),
        ([0.9, 0.8, 0.1, 0.1, 0.1], (1,)),
        ([0.1, 0.1, 0.1, 0.6, 0.1, 0.1, 0.7], (3, 6)),
        # At least 0.2, and at least twice the median.
        ([0.1, 0.05, 0.05, 0.19, 0.05], ()),
        ([0.1, 0.05, 0.05, 0.2, 0.05], (3,)),
        ([0.1, 0.25, 0.25, 0.49, 0.25], ()),
        ([0.1, 0.25, 0.25, 0.5, 0.25], (3,)),
        # Of a rise over several frames the peak; of equal ones the first.
        ([0.1, 0.1, 0.1, 0.1, 0.3, 0.5, 0.4, 0.1, 0.1], (5,)),
        ([0.1, 0.1, 0.1, 0.1, 0.5, 0.5, 0.1, 0.1], (4,)),
        ([0.0, 0.0, 0.0, 0.0], ()),
    ],
)
def test_a_cut_is_a_peak_far_above_the_rest(ratios, cuts):
    assert likely_cuts(ratios) == cuts
