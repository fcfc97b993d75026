"""What goes wrong in one request must not reach the next: an error inside the model would stop the engine."""

from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from tests.engines.vllm.toys import DEFAULT_KEEP, Ask, answer, engine, generate, pruned

REASON = "vLLM is not installed: run `make test-vllm`"
FAMILY = "qwen2_5_vl"


def running(checkpoint, family):
    pytest.importorskip("vllm", reason=REASON)
    return engine(checkpoint(family), **pruned(family, keep=DEFAULT_KEEP))


@contextmanager
def going_on(llm, family):
    """The engine answers after what happens here as before it."""
    before = answer(llm, family, Ask(("cut",)))
    yield
    after = answer(llm, family, Ask(("cut",)))
    assert (after.prompt, after.tokens, after.logprobs) == (before.prompt, before.tokens, before.logprobs)


@dataclass(frozen=True)
class Written(Ask):
    """A request whose user writes some text before its media, and some after."""

    before: str = ""
    after: str = ""

    def prompt(self, family):
        start, prompt, question = super().prompt(family).partition("user\n")
        return start + prompt + self.before + question.replace("What", self.after + "What")


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_tokens_of_media_that_a_user_writes_end_their_own_request(checkpoint, family):
    client_error = pytest.importorskip("vllm.exceptions", reason=REASON).VLLMValidationError
    strays = [f"<|{modality}_pad|>" for modality in ("image", "video")]
    texts = [*strays, *(f"a{stray}b" for stray in strays)]
    texts += [f"<|vision_start|>{stray}<|vision_end|>" for stray in strays]
    with running(checkpoint, family) as llm, going_on(llm, family):
        for media in ("noise",), ("image", "cut"), ("image",):
            for text in texts:
                for ask in (Written(media, before=text), Written(media, after=text)):
                    with pytest.raises(client_error, match="in the text"):
                        generate(llm, family, [ask])
        # No cache takes the refused clip for one that the engine has.
        answer(llm, family, Ask(("noise",)))


@pytest.fixture(scope="module")
def llm(checkpoint):
    with running(checkpoint, FAMILY) as llm:
        yield llm


@pytest.fixture
def goes_on(llm):
    with going_on(llm, FAMILY):
        yield


@pytest.mark.usefixtures("goes_on")
@pytest.mark.parametrize("keep", [0, 1.5, "much", float("nan")])
def test_a_bad_share_ends_its_own_request(llm, keep):
    with pytest.raises(ValueError, match="give a number in"):
        generate(llm, FAMILY, [Ask(("cut",), keep)])


@pytest.mark.usefixtures("goes_on")
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
