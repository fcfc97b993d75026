"""Assisted decoding: a draft model beside an attached one, and what is refused."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE
from tests.hf.conftest import GREEDY, OFF, STAGE_1, TEXT_ONLY, Config, clip, distance, same_output
from tests.hf.test_generation import deaf_to_its_own_deprecation, new_tokens, replay, run

TOLERANCE = 1e-6  # float32, sums in another order
STEPS = 8
ASSISTED = GREEDY | {"max_new_tokens": STEPS}
DRAFTED = 3


@pytest.fixture(params=["internvl", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def family(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def deaf() -> Iterator[None]:
    with deaf_to_its_own_deprecation():
        yield


@pytest.fixture
def drafter(model) -> Any:
    """Another model of the same class, which drafts three tokens however unsure."""
    drafter = copy.deepcopy(model)
    drafter.generation_config.update(
        num_assistant_tokens=DRAFTED,
        num_assistant_tokens_schedule="constant",
        assistant_confidence_threshold=0.0,
    )
    return drafter


@contextmanager
def watched(module: Any) -> Iterator[list[dict[str, Any]]]:
    """The arguments of each forward pass."""
    calls: list[dict[str, Any]] = []
    handle = module.register_forward_pre_hook(lambda *call: calls.append(call[2]), with_kwargs=True)
    yield calls
    handle.remove()


@pytest.fixture(params=["drafts are right", "drafts are wrong"])
def options(request, model) -> dict[str, Any]:
    """Where one token alone may be said every draft is right; random models agree on hardly any other."""
    if request.param == "drafts are wrong":
        return ASSISTED
    allowed = 65
    vocabulary = model.config.get_text_config().vocab_size
    return ASSISTED | {"suppress_tokens": [token for token in range(vocabulary) if token != allowed]}


@pytest.mark.parametrize("sampled", [False, True])
def test_switched_off_it_is_bit_exact(model, drafter, inputs, sampled):
    options = ASSISTED | {"do_sample": sampled, "assistant_model": drafter}
    dense = run(model, inputs, options)
    with sharpv.attach(model, OFF):
        assert same_output(run(model, inputs, options), dense)


def test_a_drafted_answer_is_the_greedy_one(model, drafter, inputs, options):
    """The first drafts, too, which the dense model reads in the pass of the video."""
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        greedy = run(model, inputs, options)
        with watched(model.model) as passes:
            drafted = run(model, inputs, options | {"assistant_model": drafter})
        report = session.report
        logits = replay(model, inputs, new_tokens(drafted, inputs))
    assert torch.equal(drafted.sequences, greedy.sequences)
    assert torch.allclose(torch.stack(drafted.logits, dim=1), logits, atol=TOLERANCE)
    assert all(all(layer.dropped) for layer in report.layers)
    assert 0 < report.tokens_kept < report.tokens_total
    if "suppress_tokens" in options:
        assert len(passes) < STEPS
    assert "forward" not in vars(model)


@pytest.mark.parametrize("name", ["output_attentions", "output_hidden_states"])
def test_what_a_pass_shows_is_refused_where_stage_2_reads_the_drafts_apart(model, drafter, inputs, name):
    model.set_attn_implementation("eager")
    options = ASSISTED | {name: True, "assistant_model": drafter}
    with sharpv.attach(model, TEXT_ONLY), pytest.raises(sharpv.InputError, match="memory_threshold=None"):
        run(model, inputs, options)
    with sharpv.attach(model, STAGE_1):
        shown = run(model, inputs, options)
    assert len(shown[name.removeprefix("output_")]) == STEPS


@pytest.mark.parametrize("attached", [False, True], ids=["plain", "attached"])
def test_the_drafter_reads_the_shortened_prompt_without_the_video(model, drafter, inputs, attached):
    """Transformers shows a drafter no video, only placeholders: it serves attached or not."""
    with sharpv.attach(model, STAGE_1) as session:
        alone = run(model, inputs, ASSISTED)
        second = sharpv.attach(drafter, TEXT_ONLY) if attached else nullcontext()
        with second, watched(drafter.model) as calls:
            drafted = run(model, inputs, ASSISTED | {"assistant_model": drafter})
    assert torch.equal(drafted.sequences, alone.sequences)
    assert distance(drafted, alone) < TOLERANCE
    assert calls[0]["input_ids"].shape[1] == session.report.prompt_tokens_kept[0]
    assert not any(call.get("mm_encoder_outputs") for call in calls)
    pruned = sharpv.prune_inputs(model, inputs, STAGE_1)
    explicit = run(model, pruned, ASSISTED | {"assistant_model": drafter})
    assert torch.equal(new_tokens(explicit, pruned), new_tokens(drafted, inputs))


def test_a_session_on_the_drafter_alone_is_refused(model, drafter, inputs):
    with (
        sharpv.attach(drafter, Config()),
        pytest.raises(sharpv.InputError, match="attach to the model that it assists"),
    ):
        run(model, inputs, ASSISTED | {"assistant_model": drafter})


@pytest.mark.parametrize("config", [OFF, TEXT_ONLY], ids=["off", "on"])
def test_the_attached_model_cannot_draft_for_itself(model, inputs, config):
    with sharpv.attach(model, config) as session:
        with pytest.raises(sharpv.InputError, match="pass another model, or prompt_lookup_num_tokens"):
            run(model, inputs, ASSISTED | {"assistant_model": model})
        assert not session.owned
        run(model, inputs, ASSISTED)


def test_prompt_lookup_may_draft_placeholders_only_where_they_are_suppressed(model, make_inputs):
    """A prompt that ends like what stands before its video drafts placeholders, in the dense model, too."""
    names = ("image_token_id", "video_token_id")
    tokens = [getattr(model.config, name) for name in names if hasattr(model.config, name)]
    inputs = make_inputs([clip()], questions=("user\n",))
    options = ASSISTED | {"suppress_tokens": tokens}
    with sharpv.attach(model, TEXT_ONLY):
        greedy = run(model, inputs, options)
        drafted = run(model, inputs, options | {"prompt_lookup_num_tokens": DRAFTED})
    assert torch.equal(drafted.sequences, greedy.sequences)
    assert distance(drafted, greedy) < TOLERANCE


def test_a_forward_of_the_callers_own_is_called_and_comes_back(model, inputs, monkeypatch):
    """As accelerate puts one on the instance."""
    passes, forward = [], model.forward

    @functools.wraps(forward)
    def own(*args: Any, **kwargs: Any) -> Any:
        passes.append(kwargs["input_ids"].shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", own)
    with sharpv.attach(model, TEXT_ONLY) as session:
        drafted = run(model, inputs, ASSISTED | {"prompt_lookup_num_tokens": DRAFTED})
        assert model.forward is own
        greedy = run(model, inputs, ASSISTED)
    assert distance(drafted, greedy) < TOLERANCE
    assert passes[0] == session.report.prompt_tokens_kept[0]


Turn = Callable[..., Any]


@pytest.fixture
def second_turn(model, processor, inputs) -> Turn:
    """A turn of text that goes on from the cache of the first, with its own options."""
    turn = processor.tokenizer("And then?", return_tensors="pt").input_ids

    def ask(**options: Any) -> Any:
        first = model.generate(**inputs, **ASSISTED)
        ids = torch.cat([first.sequences, turn], dim=1)
        rest = {"attention_mask": torch.ones_like(ids), CACHE: first[CACHE]}
        return model.generate(ids, **rest, **ASSISTED, **options)

    return ask


@pytest.mark.parametrize("config", [STAGE_1, TEXT_ONLY], ids=["stage1", "both"])
def test_a_later_turn_on_a_pruned_cache_is_refused(model, drafter, second_turn, config):
    with sharpv.attach(model, config) as session:
        for options in ({"prompt_lookup_num_tokens": DRAFTED}, {"assistant_model": drafter}):
            with pytest.raises(sharpv.InputError, match="leave assistant_model and prompt_lookup_num_tokens"):
                second_turn(**options)
            assert not session.owned


@pytest.mark.parametrize("config", [OFF, STAGE_1, TEXT_ONLY], ids=["off", "stage1", "both"])
def test_a_video_on_the_cache_of_a_text_turn_is_refused_where_it_is_pruned(model, make_inputs, config):
    text, later = make_inputs([]), make_inputs([clip()], questions=("And now?",))
    with sharpv.attach(model, config) as session:
        first = model.generate(**text, **ASSISTED)
        later["input_ids"] = torch.cat([first.sequences, later["input_ids"]], dim=1)
        later["attention_mask"] = torch.ones_like(later["input_ids"])
        if "mm_token_type_ids" in later:
            earlier = torch.zeros_like(first.sequences)
            later["mm_token_type_ids"] = torch.cat([earlier, later["mm_token_type_ids"]], dim=1)
        later[CACHE] = first[CACHE]
        options = ASSISTED | {"prompt_lookup_num_tokens": DRAFTED}
        if config is OFF:
            model.generate(**later, **options)
        else:
            with pytest.raises(sharpv.InputError, match="a cache that holds an earlier turn"):
                model.generate(**later, **options)
        assert not session.owned


def test_a_later_turn_still_goes_wrong_in_the_dense_model(second_turn):
    """Transformers feeds the whole conversation again: mended, the refusal above can go."""
    assert distance(second_turn(), second_turn(prompt_lookup_num_tokens=DRAFTED)) > TOLERANCE


@pytest.mark.parametrize("family", ["qwen3_5"], indirect=True)
@pytest.mark.parametrize("attached", [False, True], ids=["dense", "attached"])
def test_a_hybrid_takes_no_drafts_with_and_without_a_session(model, inputs, attached):
    session = sharpv.attach(model, TEXT_ONLY) if attached else nullcontext()
    with session, pytest.raises(ValueError, match="stateful"):
        run(model, inputs, ASSISTED | {"prompt_lookup_num_tokens": DRAFTED})
