"""Reading along with an attention module changes nothing, and leaves nothing."""

import sys
from contextlib import suppress

import torch

from sharpv.hf.overhear import overhear
from tests.hf.conftest import GREEDY, same_output


def modules(model) -> list:
    """An attention module of the decoder, and one of the vision tower."""
    tower = getattr(model.base_model, "vision_tower", None) or model.base_model.visual
    attending = (part for name, part in tower.named_modules() if name.split(".")[-1] in ("self_attn", "attn"))
    return [model.get_decoder().layers[1].self_attn, next(attending)]


def registry(module) -> dict:
    return dict(sys.modules[type(module).__module__].ALL_ATTENTION_FUNCTIONS)


def test_the_result_is_the_same_with_any_kernel(model, inputs, attention):
    expected = model.generate(**inputs, **GREEDY)
    for module in modules(model):
        heard, config, known = [], module.config, registry(module)
        with overhear(module, lambda *read, heard=heard: heard.append(read)):
            assert same_output(model.generate(**inputs, **GREEDY), expected)
        query, key, options = heard[0]
        assert query.shape[0] == key.shape[0]
        assert query.shape[-1] == key.shape[-1]
        assert "scaling" in options
        assert module.config is config
        assert registry(module) == known
        count = len(heard)
        assert same_output(model.generate(**inputs, **GREEDY), expected)
        assert len(heard) == count


def test_only_the_one_module_is_heard(model, inputs):
    heard = []
    module, _ = modules(model)
    with overhear(module, lambda *read: heard.append(read)), torch.no_grad():
        model(**inputs)
    assert len(heard) == 1


def test_it_is_put_back_after_an_error_of_any_kind(model, inputs, attention):
    for error in (KeyError, KeyboardInterrupt):

        def fail(*read, error=error) -> None:
            raise error

        for module in modules(model):
            config, known = module.config, registry(module)
            with suppress(error), overhear(module, fail):
                model.generate(**inputs, **GREEDY)
            assert module.config is config
            assert registry(module) == known
    model.generate(**inputs, **GREEDY)


def test_two_listeners_hear_the_same(model, inputs):
    one, other = [], []
    _, module = modules(model)
    config = module.config
    with overhear(module, lambda *read: one.append(read)), torch.no_grad():
        with overhear(module, lambda *read: other.append(read)):
            model(**inputs)
        model(**inputs)
    assert module.config is config
    assert len(one) == 2 * len(other) > 0
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(one, other, strict=False))


def test_no_gradient_goes_through_what_is_heard(model, inputs):
    heard = []
    module, _ = modules(model)
    with overhear(module, lambda *read: heard.append(read)):
        assert model(**inputs).logits.requires_grad
    assert not any(tensor.requires_grad for tensor in heard[0][:2])
