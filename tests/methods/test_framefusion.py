"""The merging step of FrameFusion by hand."""

import pytest
import torch

from sharpv.methods import FrameFusion
from tests.methods.clips import keep

# Cosines to the frame before: place 0: 1, .8; place 1: 0, 1.
CLIP = torch.tensor(
    [[[1.0, 0.0], [1.0, 0.0]], [[4.0, 0.0], [0.0, 2.0]], [[4.0, 3.0], [0.0, 4.0]]],
)


@pytest.mark.parametrize(
    ("count", "mask", "merged"),
    [
        (5, [[1, 1], [0, 1], [1, 1]], [[2.5, 0], [1, 0], [0, 2], [4, 3], [0, 4]]),
        (4, [[1, 1], [0, 1], [1, 0]], [[2.5, 0], [1, 0], [0, 3], [4, 3]]),
        (3, [[1, 1], [0, 1], [0, 0]], [[3, 1], [1, 0], [0, 3]]),
        # Nothing else is alike: the run that began at a cosine of 0 goes, and its value with it.
        (2, [[1, 1], [0, 0], [0, 0]], [[3, 1], [1, 0]]),
        (1, [[1, 0], [0, 0], [0, 0]], [[3, 1]]),
    ],
)
def test_the_most_similar_tokens_join_the_run_before_them(count, mask, merged):
    chosen = FrameFusion().select(CLIP, keep(count, 3, 2))
    assert chosen.mask.tolist() == torch.tensor(mask).bool().tolist()
    torch.testing.assert_close(chosen.merged, torch.tensor(merged).float())


def test_below_the_threshold_tokens_go_without_being_averaged():
    chosen = FrameFusion(similarity=0.9).select(CLIP, keep(3, 3, 2))
    assert chosen.mask.tolist() == [[True, True], [False, True], [False, False]]
    torch.testing.assert_close(chosen.merged, torch.tensor([[2.5, 0.0], [1.0, 0.0], [0.0, 3.0]]))


@pytest.mark.parametrize("similarity", [-1.1, 1.1, True, "0.6"])
def test_a_similarity_outside_its_range(similarity):
    with pytest.raises(ValueError, match=r"FrameFusion.similarity is .*: it must be a number in \[-1, 1\]"):
        FrameFusion(similarity=similarity)
