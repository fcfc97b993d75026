"""The similarity that decides whether a layer keeps its visual keys and values."""

import math

import pytest
import torch

from sharpv.core import discard, layer_similarity, reference, visual_columns
from sharpv.errors import InputError


def similarities(hidden, original, visual):
    return layer_similarity(hidden, original, visual_columns(visual))


def states(dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(0)
    hidden, original = torch.randn(2, 3, 11, 24, generator=generator).to(device, dtype).unbind()
    visual = torch.rand(3, 11, generator=generator).to(device) < 0.5
    return hidden.clone(), original.clone(), visual


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_similarity_equals_the_reference(dtype, device):
    hidden, original, visual = states(dtype, device)
    ours, truth = (
        similarities(hidden, original, visual),
        reference.layer_similarity(hidden, original, visual),
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double().cpu(), truth, atol=1e-6, rtol=0)


def test_the_features_themselves_have_similarity_1():
    _, original, visual = states()
    torch.testing.assert_close(similarities(original, original, visual), torch.ones(3))


def test_a_row_without_visual_tokens_is_nan_and_kept(device):
    hidden, original, visual = states(device=device)
    visual[1] = False
    similarity = similarities(hidden, original, visual)
    assert similarity.isnan().tolist() == [False, True, False]
    assert discard(similarity, 2.0).tolist() == [True, False, True]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_visual_takes_no_part(bad):
    hidden, original, visual = states()
    clean = similarities(hidden, original, visual)
    hidden[~visual], original[~visual] = bad, bad
    assert torch.equal(similarities(hidden, original, visual), clean)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_visual_state_is_nan_and_kept(bad):
    hidden, original, visual = states()
    hidden[0, int(visual[0].nonzero()[0, 0]), 3] = bad
    similarity = similarities(hidden, original, visual)
    assert similarity.isnan().tolist() == [True, False, False]
    assert not discard(similarity, 2.0)[0]


def test_a_zero_vector_has_cosine_0():
    hidden, original, visual = states()
    hidden[0] = 0
    similarity = similarities(hidden, original, visual)
    assert similarity[0] == 0
    torch.testing.assert_close(similarity.double(), reference.layer_similarity(hidden, original, visual))


def test_rows_do_not_depend_on_their_batch():
    hidden, original, visual = states()
    alone = [similarities(hidden[b : b + 1], original[b : b + 1], visual[b : b + 1]) for b in range(3)]
    assert torch.equal(torch.cat(alone), similarities(hidden, original, visual))


def test_discard_is_strict():
    assert discard(torch.tensor([0.1, 0.2, 0.3, math.nan]), 0.2).tolist() == [True, False, False, False]


def test_the_columns_of_a_row_are_its_own():
    rows = visual_columns(torch.tensor([[False, True, True], [False, False, False]]))
    assert [row.tolist() for row in rows] == [[1, 2], []]


def test_inputs_that_do_not_match_are_refused():
    hidden, original, visual = states()
    columns = visual_columns(visual)
    with pytest.raises(InputError, match="do not match"):
        layer_similarity(hidden, original[:, :5], columns)
    with pytest.raises(InputError, match="the columns of 2 rows do not match"):
        layer_similarity(hidden, original, columns[:2])
    for mask in (visual.long(), visual[0]):
        with pytest.raises(InputError, match=r"give a bool mask \[B, L\]"):
            visual_columns(mask)
