"""The life of a session: it leaves no trace, survives failures, and serves one request at a time."""

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import torch

import sharpv
from sharpv.hf.cache import CACHE
from sharpv.tiny.random import RANDOM_MODELS
from tests.hf.conftest import GREEDY, OFF, STAGE_1, TEXT_ONLY, clip, interrupt, same_output

PER_REQUEST = "rope_deltas"  # the model's own note of its last prompt


def state_of(model) -> tuple:
    """Where a session could leave a trace: attributes and hooks of the modules and their classes."""
    attributes = {
        (name, key): list(value) if isinstance(value, dict) else id(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key != PER_REQUEST
    }
    classes = {kind: dict(vars(kind)) for module in model.modules() for kind in type(module).__mro__}
    return attributes, classes, list(model.state_dict())


def without_a_video_token(model, inputs) -> dict:
    column = (inputs["input_ids"][0] == model.config.video_token_id).nonzero()[0, 0]
    along = ("input_ids", "attention_mask", "mm_token_type_ids")
    cut = {name: inputs[name] for name in along if name in inputs}
    return inputs | {name: torch.cat([v[:, :column], v[:, column + 1 :]], 1) for name, v in cut.items()}


def with_nan(model, inputs) -> dict:
    return inputs | {"pixel_values_videos": inputs["pixel_values_videos"] * torch.nan}


FAILURES = {"NaN pixels": with_nan, "one placeholder less": without_a_video_token}


@pytest.mark.parametrize("ending", ["detach", "with", "error", "failed request"])
def test_a_detached_model_is_as_it_was(model, inputs, ending):
    before = model.generate(**inputs, **GREEDY)
    state = state_of(model)
    with suppress(KeyError, sharpv.InputError), sharpv.attach(model, TEXT_ONLY) as session:
        model.generate(**inputs, **GREEDY)
        if ending == "detach":
            session.detach()
        if ending == "error":
            raise KeyError
        if ending == "failed request":
            model.generate(**with_nan(model, inputs), **GREEDY)
    assert state_of(model) == state
    assert model.generate.__func__ is type(model).generate
    assert same_output(model.generate(**inputs, **GREEDY), before)


def test_attaching_twice_is_refused_and_changes_nothing(model, inputs):
    with sharpv.attach(model, STAGE_1) as session:
        state = state_of(model)
        with pytest.raises(sharpv.AttachError, match=r"detach it first, session\.detach\(\)"):
            sharpv.attach(model)
        assert state_of(model) == state
        model.generate(**inputs, max_new_tokens=1)
        assert len(session.reports) == 1
    session.detach()
    sharpv.attach(model).detach()


def test_a_generate_of_the_callers_own_is_put_back(model):
    model.generate = own = type(model).generate.__get__(model)
    with sharpv.attach(model):
        pass
    assert vars(model).pop("generate", None) is own


def test_an_attached_model_cannot_be_copied(model):
    """The copy's hooks would belong to the session of the original."""
    with sharpv.attach(model), pytest.raises(sharpv.AttachError, match="detach it first"):
        copy.deepcopy(model)


def test_a_dropped_model_and_its_session_are_freed(family):
    model, _ = RANDOM_MODELS[family](image_size=56)
    session = sharpv.attach(model)
    left = [weakref.ref(model), weakref.ref(session)]
    del model, session
    gc.collect()
    assert [reference() for reference in left] == [None, None]


def test_a_session_keeps_the_last_32_reports(model, make_inputs):
    video, text = make_inputs([clip()]), make_inputs([])
    with sharpv.attach(model) as session:
        assert session.report is None
        for _ in range(33):
            model.generate(**text, max_new_tokens=1)
        model.generate(**video, max_new_tokens=1)
    assert len(session.reports) == 32
    assert session.report is session.reports[-1]
    assert session.report.tokens_total > 0


def test_requests_of_different_shapes_do_not_disturb_each_other(model, make_inputs, batch):
    requests = [make_inputs([clip(frames=2)]), batch, make_inputs([]), make_inputs([clip(2), clip(3)])]
    alone = []
    for request in requests:
        with sharpv.attach(model, TEXT_ONLY):
            alone.append(model.generate(**request, **GREEDY))
    with sharpv.attach(model, TEXT_ONLY):
        together = [model.generate(**request, **GREEDY) for request in requests]
    assert all(map(same_output, alone, together))


@pytest.mark.parametrize("bare", [False, True], ids=["generate", "forward"])
@pytest.mark.parametrize("failure", FAILURES)
def test_a_failed_request_leaves_the_session_usable(model, inputs, failure, bare):
    with sharpv.attach(model, TEXT_ONLY):
        expected = model.generate(**inputs, **GREEDY)
    broken = FAILURES[failure](model, inputs)
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        with pytest.raises(ValueError if bare else sharpv.InputError):
            model(**broken) if bare else model.generate(**broken, **GREEDY)
        assert session.report is None
        assert same_output(model.generate(**inputs, **GREEDY), expected)


def test_weights_that_are_not_finite_are_reported(model, inputs):
    weight = next(p for name, p in model.named_parameters() if "vis" in name)
    kept = weight.detach().clone()
    with sharpv.attach(model) as session:
        try:
            weight.data.fill_(torch.nan)
            with pytest.raises(sharpv.InputError, match="NaN"):
                model.generate(**inputs, **GREEDY)
        finally:
            weight.data.copy_(kept)
        assert session.report is None


def test_a_second_thread_is_refused(model, inputs):
    refused = []

    def second() -> None:
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(model.generate, **inputs, max_new_tokens=1).exception())

    with sharpv.attach(model, TEXT_ONLY) as session:
        expected = model.generate(**inputs, max_new_tokens=1)
        interrupt(model, inputs, second)
        assert isinstance(refused[0], sharpv.AttachError)
        assert torch.equal(model.generate(**inputs, max_new_tokens=1), expected)
    assert len(session.reports) == 3


@pytest.mark.parametrize("retention", [0.5, 1.0])
def test_a_bare_forward_with_video_during_generate_is_refused(model, inputs, retention):
    """At half of the tokens, the other prompt looks like a beam of the first, and would not be pruned."""
    config = sharpv.SharpVConfig(retention=retention)
    with sharpv.attach(model, config), pytest.raises(sharpv.AttachError):
        interrupt(model, inputs, lambda: model(**inputs))


def race(one, other, rounds: int = 6) -> tuple[list, list]:
    """Runs two calls against each other; the results, with AttachError for a call that was refused."""

    def repeat(call) -> list:
        results = []
        for _ in range(rounds):
            try:
                results.append(call())
            except sharpv.AttachError as error:
                results.append(error)
        return results

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(repeat, call) for call in (one, other)]
        return runs[0].result(), runs[1].result()


@pytest.mark.parametrize("call", ["generate", "forward"])
def test_two_threads_get_right_answers_or_are_refused(model, inputs, make_inputs, call):
    text = make_inputs([])

    def video() -> torch.Tensor:
        if call == "generate":
            return model.generate(**inputs, **GREEDY).logits[-1]
        with torch.no_grad():
            return model(**inputs).logits[:, -1]

    def other() -> torch.Tensor:
        with torch.no_grad():
            return model(**text).logits[:, -1] if call == "generate" else video()

    with sharpv.attach(model, TEXT_ONLY) as session:
        expected = video(), other()
        for results, right in zip(race(video, other), expected, strict=True):
            answers = [result for result in results if not isinstance(result, sharpv.AttachError)]
            assert all(torch.equal(answer, right) for answer in answers)
        assert torch.equal(video(), expected[0])
        assert not session.owned


def test_a_refused_thread_does_not_end_the_request_that_it_met(model, inputs, make_inputs):
    text, refused = make_inputs([]), []

    def intrude(*_) -> None:
        handle.remove()
        with ThreadPoolExecutor(1) as pool:
            refused.append(pool.submit(model, **text).exception())

    with sharpv.attach(model, TEXT_ONLY) as session:
        expected = model.generate(**inputs, **GREEDY)
        handle = model.get_decoder().layers[0].register_forward_hook(intrude)
        assert same_output(model.generate(**inputs, **GREEDY), expected)
        assert isinstance(refused[0], sharpv.AttachError)
        assert not session.owned


def test_without_a_cache_the_report_says_that_stage_2_did_not_run(model, inputs):
    with sharpv.attach(model, TEXT_ONLY) as session, torch.no_grad():
        model(**inputs, use_cache=False)
        assert "no KV cache" in session.report.notes[0]
        model(**inputs)
        assert session.report.notes == ()


def test_a_generate_put_over_ours_is_left_and_harmless(model, inputs):
    before = model.generate(**inputs, **GREEDY)
    session = sharpv.attach(model, TEXT_ONLY)
    ours = model.generate
    model.generate = wrapped = lambda **call: ours(**call)
    session.detach()
    assert vars(model).pop("generate") is wrapped
    assert same_output(wrapped(**inputs, **GREEDY), before)


def test_text_only_requests_are_untouched(model, make_inputs):
    text = make_inputs([], [])
    with torch.no_grad():
        dense, dense_forward = model.generate(**text, **GREEDY), model(**text)
        with sharpv.attach(model, TEXT_ONLY) as session:
            attached = model.generate(**text, **GREEDY)
            assert "no video" in session.report.notes[0]
            assert session.report.prompt_tokens == tuple(text["attention_mask"].sum(1).tolist())
            forward = model(**text)
            assert len(session.reports) == 1
    assert same_output(dense, attached)
    assert type(attached[CACHE].layers[0]) is type(dense[CACHE].layers[0])
    assert torch.equal(dense_forward.logits, forward.logits)


def loss_and_gradients(model, inputs, labels) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs, labels=labels).loss
    loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return loss.detach(), gradients


@pytest.fixture
def labels(inputs):
    """The answer is the last of the prompt's columns."""
    return inputs["input_ids"].clone().index_fill_(1, torch.arange(inputs["input_ids"].shape[1] - 8), -100)


def checkpointing(model, change: str) -> None:
    """Calls the method by its name of today, or by that of older releases."""
    today, before = f"activation_checkpointing_{change}", f"gradient_checkpointing_{change}"
    getattr(model, today if hasattr(model, today) else before)()


@pytest.fixture
def training(model):
    model.train()
    yield model
    checkpointing(model, "disable")
    model.eval().zero_grad()


def test_training_switched_off_is_bit_exact(training, inputs, labels):
    dense = loss_and_gradients(training, inputs, labels)
    with sharpv.attach(training, OFF):
        attached = loss_and_gradients(training, inputs, labels)
    assert torch.equal(dense[0], attached[0])
    assert dense[1].keys() == attached[1].keys()
    assert all(torch.equal(dense[1][name], attached[1][name]) for name in dense[1])


def test_gradients_reach_the_projector_through_pruning(training, inputs, labels):
    with sharpv.attach(training, TEXT_ONLY) as session:
        loss, gradients = loss_and_gradients(training, inputs, labels)
    assert loss.isfinite()
    assert session.report.tokens_kept < session.report.tokens_total
    for part in ("embed_tokens", "projector" if "llava" in training.config.model_type else "merger"):
        assert any(part in name and gradient.any() for name, gradient in gradients.items()), part


def test_gradient_checkpointing_changes_nothing(training, inputs, labels):
    with sharpv.attach(training, TEXT_ONLY):
        plain = loss_and_gradients(training, inputs, labels)
        checkpointing(training, "enable")
        checkpointed = loss_and_gradients(training, inputs, labels)
    assert torch.allclose(plain[0], checkpointed[0])
    assert all(torch.allclose(plain[1][name], checkpointed[1][name], atol=1e-6) for name in plain[1])


def test_the_loss_of_the_text_around_a_video_is_the_same_in_both_seams(model, inputs):
    """The token after the video is predicted from the last one kept."""
    labels = inputs["input_ids"].masked_fill(inputs["input_ids"] == model.config.video_token_id, -100)
    pruned = sharpv.prune_inputs(model, inputs | {"labels": labels}, STAGE_1)
    with torch.no_grad():
        explicit = model(**pruned).loss
        with sharpv.attach(model, STAGE_1):
            attached = model(**inputs, labels=labels).loss
    assert float(attached) == pytest.approx(float(explicit), abs=1e-6)
