"""What goes wrong in one request must not reach the next: an error inside the model would stop the engine."""

import pytest
import torch

from tests.engines.vllm.toys import DEFAULT_KEEP, Ask, answer, engine, generate, pruned

FAMILY = "qwen2_5_vl"


@pytest.fixture(scope="module")
def llm(checkpoint):
    pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")
    with engine(checkpoint(FAMILY), **pruned(FAMILY, keep=DEFAULT_KEEP)) as llm:
        yield llm


@pytest.fixture(autouse=True)
def goes_on(llm):
    """The engine answers after each test as before it."""
    before = answer(llm, FAMILY, Ask(("cut",)))
    yield
    after = answer(llm, FAMILY, Ask(("cut",)))
    assert (after.prompt, after.tokens, after.logprobs) == (before.prompt, before.tokens, before.logprobs)


@pytest.mark.parametrize("keep", [0, 1.5, "much", float("nan")])
def test_a_bad_share_ends_its_own_request(llm, keep):
    with pytest.raises(ValueError, match="give a number in"):
        generate(llm, FAMILY, [Ask(("cut",), keep)])


def test_a_vision_tower_that_overflows_ends_nothing(llm, caplog):
    def overflow(model):
        forward = model.visual.forward
        model.visual.forward = lambda *args, **kwargs: forward(*args, **kwargs) * torch.inf

    def recover(model):
        del model.visual.forward

    llm.apply_model(overflow)
    try:
        record = answer(llm, FAMILY, Ask(("noise",), 0.3))
    finally:
        llm.apply_model(recover)
    token = 260
    assert record.prompt.count(token) == round(0.3 * 4 * 16)
    assert "thinned evenly" in caplog.text


@pytest.mark.parametrize("options", [{"keep": 3}, {"gain": -1}, {"retention": 0.5}])
def test_bad_options_of_a_server_stop_it_before_it_serves(checkpoint, options):
    with (
        pytest.raises(ValueError, match=r"gain|share|unknown"),
        engine(checkpoint("llava_onevision"), **pruned("llava_onevision", **options)),
    ):
        pass


def test_the_rate_of_other_methods_is_refused(checkpoint):
    with (
        pytest.raises(ValueError, match="leave it out"),
        engine(checkpoint(FAMILY), video_pruning_rate=0.5, **pruned(FAMILY)),
    ):
        pass
