"""FastV and VTW by hand: which tokens stay, and before which layer the others leave."""

from dataclasses import replace

import pytest
import torch

import sharpv
from sharpv.methods import INSIDE_LLM, METHODS, VTW, FastV, InLLMPruner

ALL = pytest.mark.parametrize("name", INSIDE_LLM)


def share(retention: float, **others) -> sharpv.SharpVConfig:
    return sharpv.SharpVConfig(retention=retention, **others)


def stay(paid: list[float], config: sharpv.SharpVConfig) -> list[int]:
    mask = FastV().stay(len(paid), torch.tensor(paid), config)
    assert mask.dtype == torch.bool
    return mask.nonzero().flatten().tolist()


def test_fastv_keeps_what_the_last_token_looks_at_most():
    paid = [0.1, 0.3, 0.0, 0.2, 0.05, 0.15]
    assert stay(paid, share(0.5)) == [1, 3, 5]
    assert stay(paid, share(0.34)) == [1, 3]
    assert stay(paid, share(1.0)) == [0, 1, 2, 3, 4, 5]


def test_fastv_gives_ties_to_the_lower_index():
    assert stay([0.1] * 8, share(0.5)) == [0, 1, 2, 3]
    assert stay([0.1, 0.2, 0.1, 0.2, 0.1], share(0.6)) == [0, 1, 3]
    assert stay([0.0] * 3, share(0.34)) == [0]


def test_fastv_keeps_the_budget_exactly():
    for tokens in (1, 2, 7, 100):
        paid = torch.rand(tokens, generator=torch.Generator().manual_seed(tokens)).tolist()
        for retention in (0.001, 0.12, 0.25, 0.5, 0.999):
            assert len(stay(paid, share(retention))) == max(round(retention * tokens), 1)
    assert len(stay([0.1] * 28, share(0.25, bucket=4))) == 8
    assert len(stay([0.1] * 28, share(0.25, bucket=64))) == 28


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_fastv_refuses_attention_that_is_not_finite(bad):
    with pytest.raises(sharpv.InputError, match=r"attention scores that hold NaN or infinity.*bfloat16"):
        stay([0.1, bad, 0.2], share(0.5))


@pytest.mark.parametrize("layer", [1, 2, 27])
def test_fastv_leaves_before_its_layer(layer):
    assert FastV(layer=layer).leave_before(28, share(0.5)) == layer
    assert FastV().leave_before(28, share(0.5)) == 2


@pytest.mark.parametrize(
    ("retention", "layers", "expected"),
    [
        (0.5, 32, 16),
        (0.47, 32, 15),  # the paper's LLaVA-1.5
        (0.25, 28, 7),
        (0.12, 28, 3),  # 3.36
        (0.001, 28, 1),
        (0.98, 28, 27),
        (0.99, 28, 28),
        (1.0, 28, 28),
    ],
)
def test_the_layer_of_vtw_follows_from_the_share_that_layers_read(retention, layers, expected):
    layer = VTW().leave_before(layers, share(retention))
    assert layer == expected
    assert all(abs(layer / layers - retention) <= abs(k / layers - retention) for k in range(1, layers + 1))


def test_vtw_keeps_nothing_from_a_layer_of_its_own_on():
    assert VTW(layer=15).leave_before(32, sharpv.SharpVConfig()) == 15
    assert VTW().stay(5, None, share(0.5)).tolist() == [False] * 5


@pytest.mark.parametrize("pruner", [FastV(layer=28), VTW(layer=28), VTW(layer=99)], ids=repr)
def test_a_layer_that_is_not_there_is_refused(pruner):
    with pytest.raises(sharpv.InputError, match=r"for an LLM of 28 decoder layers.*give a layer in 1\.\.27"):
        pruner.leave_before(28, share(0.5))


@pytest.mark.parametrize("kind", [FastV, VTW])
@pytest.mark.parametrize("layer", [0, -1, 1.0, True, "2"])
def test_a_layer_that_is_no_count_is_refused(kind, layer):
    with pytest.raises(ValueError, match=rf"{kind.__name__}.layer is {layer!r}: it must be a whole number"):
        kind(layer=layer)


@ALL
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"retention": "adaptive"}, r"needs to know how many tokens to keep.*retention=0\.25"),
        ({"coverage": 0.5, "spatial_weight": 2.0}, "spatial_weight, coverage would have no effect"),
        ({"positions": "compact"}, "positions would have no effect"),
    ],
    ids=["adaptive", "coverage", "compact"],
)
def test_what_a_method_cannot_follow_is_refused(name, changes, message):
    with pytest.raises(sharpv.InputError, match=f"method '{name}' .*{message}"):
        METHODS[name].check(replace(share(0.5), **changes))


@ALL
def test_stage_2_goes_with_every_method(name):
    METHODS[name].check(share(0.5, memory_threshold=0.3, memory_probe="output"))


def test_vtw_takes_a_layer_or_a_share():
    VTW(layer=3).check(sharpv.SharpVConfig())
    VTW(layer=3).check(share(1.0))
    with pytest.raises(sharpv.InputError, match=r"got VTW\(layer=3\) and retention=0\.5.*leave one of"):
        VTW(layer=3).check(share(0.5))
    with pytest.raises(sharpv.InputError, match="threshold would have no effect"):
        VTW(layer=3).check(sharpv.SharpVConfig(threshold=1.0))
    with pytest.raises(sharpv.InputError, match="bucket would have no effect"):
        VTW().check(share(0.5, bucket=8))


@ALL
def test_the_kinds_are_told_apart(name):
    assert isinstance(METHODS[name], InLLMPruner)
    assert not isinstance(METHODS["sharpv"], InLLMPruner)
