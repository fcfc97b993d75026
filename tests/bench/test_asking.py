"""The likeliest option, for tokenizers that need one token for an answer and for those that need many."""

import functools
from types import SimpleNamespace

import pytest
import torch

import sharpv
from sharpv.bench.asking import Batch, answer, as_video, batches, grade, spell
from sharpv.bench.encode_once import encode_once
from sharpv.hf.ask import VideoModel, build_inputs
from sharpv.hf.families import FAMILIES as MODEL_FAMILIES
from sharpv.shapesqa import CAPTION, FAMILIES, Question, iterate, render_clip
from sharpv.tiny.random import RANDOM_MODELS
from tests.bench.conftest import small
from tests.hf.conftest import NEEDS, REPRESENTATIVES, TEXT_ONLY

END = 9
ONE, TWO, TWO_THREE, TWO_FOUR = (1,), (2,), (2, 3), (2, 4)
CHANCES = {
    (): {1: 0.4, 2: 0.6},
    ONE: {END: 0.9},
    TWO: {3: 0.5, 4: 0.4},
    TWO_THREE: {END: 1},
    TWO_FOUR: {END: 1},
}
"""What a model says next with which chance: the likelier first token starts no likelier answer."""


class Talker:
    """A model that says what it may by a table of chances, of any row the same."""

    generation_config = SimpleNamespace(eos_token_id=END)

    def __init__(self, chances: dict) -> None:
        self.chances = chances

    def generate(self, input_ids, max_new_tokens, prefix_allowed_tokens_fn, **given):
        prompt, sequences, logits = input_ids.shape[1], input_ids, []
        while len(logits) < max_new_tokens and not (sequences[:, prompt:] == END).any(1).all():
            step = torch.full((len(sequences), END + 1), 1e-9)
            for row, said in enumerate(sequences[:, prompt:].tolist()):
                for token, chance in self.chances.get(tuple(said), {}).items():
                    step[row, token] = chance
            logits.append(step.log())
            masked = torch.full_like(step, -torch.inf)
            for row, ids in enumerate(sequences):
                may = prefix_allowed_tokens_fn(row, ids)
                masked[row, may] = step[row, may].log()
            sequences = torch.cat([sequences, masked.argmax(1, keepdim=True)], 1)
        return SimpleNamespace(sequences=sequences, logits=tuple(logits))


def said(chances: dict, *choices: dict) -> list[str]:
    longest = max(len(ids) for options in choices for ids in options.values())
    batch = Batch((), {"input_ids": torch.zeros(len(choices), 4, dtype=torch.long)}, choices, longest)
    return answer(VideoModel("", Talker(chances), None), batch)


def test_the_likeliest_option_need_not_begin_as_greedy_decoding_does():
    three, four = {"one": ONE, "two three": TWO_THREE}, {"one": ONE, "two four": TWO_FOUR}
    assert said(CHANCES, three, four) == ["one", "one"]  # 0.4 x 0.9 against 0.6 x 0.5 and 0.6 x 0.4
    surer = CHANCES | {TWO: {3: 0.3, 4: 0.7}}
    assert said(surer, three, four) == ["one", "two four"]
    assert said(surer, four | three, four) == ["two four"] * 2


def test_an_option_that_begins_another_is_as_likely_as_its_end():
    options = {"two": TWO, "two three": TWO_THREE}
    assert said(CHANCES | {TWO: {3: 0.4, END: 0.6}}, options) == ["two"]
    assert said(CHANCES | {TWO: {3: 0.6, END: 0.4}}, options) == ["two three"]


def test_options_of_one_token_are_compared_by_it_alone():
    assert said(CHANCES | {ONE: {END: 1}, TWO: {3: 1}}, {"one": ONE, "two": TWO}) == ["two"]


def test_options_that_a_tokenizer_confuses_are_refused():
    with pytest.raises(sharpv.InputError, match=r"cannot tell 'two' from another.*scoring=\"generate\""):
        spell(lambda text, add_special_tokens: SimpleNamespace(input_ids=[0]), ["one", "two"])


def test_a_model_without_an_end_token_is_refused(toy):
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    with pytest.raises(sharpv.InputError, match="names no eos_token_id"):
        batches(VideoModel("", model, toy.processor), None, [], small())


@pytest.fixture(scope="module")
def asked() -> tuple:
    sample = next(sample for sample in iterate(frames=4) if len(sample.questions) > 4)
    return as_video(render_clip(sample.scene)), sample.questions


def test_batches_hold_every_question_once(toy, asked):
    video, questions = asked
    made = batches(toy, video, questions, small(rows=2))
    assert sorted(q.text for batch in made for q in batch.questions) == sorted(q.text for q in questions)
    assert all(len(batch.questions) <= 2 for batch in made)
    for batch in made:
        free = batch.choices is None
        assert [bool(question.options) for question in batch.questions] == [not free] * len(batch.questions)
        assert batch.max_new_tokens == (3 if free else 1)
    everything_free = batches(toy, video, questions, small(rows=99, scoring="generate"))
    assert [batch.choices for batch in everything_free] == [None]


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
def test_one_token_options_are_an_arg_max_over_their_logits(toy, asked, pruned):
    video, questions = asked
    config = sharpv.SharpVConfig() if pruned else sharpv.SharpVConfig(retention=1.0, memory_threshold=None)
    (batch,) = [made for made in batches(toy, video, questions, small(rows=16)) if made.choices]
    with sharpv.attach(toy.model, config) as session:
        said = answer(toy, batch)
        assert (session.report.tokens_kept < session.report.tokens_total) is pruned
        with torch.no_grad():
            logits = toy.model(**batch.inputs).logits[:, -1]
    for question, text, row in zip(batch.questions, said, logits, strict=True):
        ids = [toy.processor.tokenizer(option).input_ids for option in question.options]
        assert {len(tokens) for tokens in ids} == {1}
        best = max(range(len(ids)), key=lambda index: row[ids[index][0]].item())
        assert text == question.options[best]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_of_options_of_many_tokens_the_likeliest_is_said(family, asked):
    """A byte-level tokenizer, so that colours begin alike and quadrants are long."""
    model, processor = RANDOM_MODELS[family](image_size=56)
    loaded = VideoModel(family, model, processor)
    texts = {"order": "Which colour appears first?", "start_pos": "Where does the red shape start?"}
    questions = [Question(name, text, FAMILIES[name][0], FAMILIES[name]) for name, text in texts.items()]
    (batch,) = batches(loaded, asked[0], questions, small())
    with sharpv.attach(model, sharpv.SharpVConfig(retention=0.5, memory_threshold=None)) as session:
        pruned = answer(loaded, batch)
        assert session.report.tokens_kept < session.report.tokens_total
        assert pruned == [likeliest(loaded, asked[0], question) for question in questions]
    assert answer(loaded, batch) == [likeliest(loaded, asked[0], question) for question in questions]


def likeliest(loaded: VideoModel, video, question: Question) -> str:
    """The slow way: the whole prompt with each option and its end behind it."""
    end, inputs = (
        loaded.model.generation_config.eos_token_id,
        build_inputs(loaded.processor, video, question.text),
    )
    along = {name: inputs[name] for name in ("pixel_values_videos", "video_grid_thw") if name in inputs}
    types, chances = inputs.get("mm_token_type_ids"), []
    for option in question.options:
        new = torch.tensor([[*loaded.processor.tokenizer(option).input_ids, end]])
        if types is not None:
            along["mm_token_type_ids"] = torch.nn.functional.pad(types, (0, new.shape[1]))
        ids = torch.cat([inputs["input_ids"], new], 1)
        with torch.no_grad():
            logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), **along).logits[0]
        chances.append(logits[-new.shape[1] - 1 : -1].log_softmax(-1).gather(1, new.T).sum().item())
    return question.options[chances.index(max(chances))]


@pytest.mark.parametrize("family", REPRESENTATIVES)
def test_a_clip_is_encoded_once_and_the_model_left_as_it_was(family, asked):
    model, processor = RANDOM_MODELS[family](image_size=56)
    loaded = VideoModel(family, model, processor)
    questions = [Question("caption", text, "", ()) for text in ("What?", "Where is it?")]
    (batch,) = batches(loaded, asked[0], questions, small())
    expected, calls = answer(loaded, batch), []
    tower = next(
        module for name, module in model.named_modules() if name.endswith(("vision_tower", "visual"))
    )
    handle = tower.register_forward_hook(lambda *args: calls.append(1))
    before = dict(vars(model.base_model))
    with (
        encode_once(model, build_inputs(processor, asked[0], "Who?")),
        sharpv.attach(model, sharpv.SharpVConfig(retention=1.0, memory_threshold=None)),
    ):
        assert [answer(loaded, batch) for _ in range(2)] == [expected] * 2
    handle.remove()
    assert len(calls) == 1
    assert dict(vars(model.base_model)).keys() == before.keys()
    assert answer(loaded, batch) == expected


@pytest.mark.parametrize("family", sorted(MODEL_FAMILIES))
def test_a_clip_encoded_once_is_pruned_as_one_encoded_each_time(family, asked):
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    model, processor = RANDOM_MODELS[family](image_size=112)
    inputs = build_inputs(processor, asked[0], "What?", "Where is it?")
    options = {"max_new_tokens": 4, "return_dict_in_generate": True, "output_logits": True}

    def pruned() -> tuple:
        with sharpv.attach(model, TEXT_ONLY) as session:
            return model.generate(**inputs, do_sample=False, **options), session.report

    expected, wanted = pruned()
    with encode_once(model, build_inputs(processor, asked[0], "Who?")):
        found, report = pruned()
    assert torch.equal(found.sequences, expected.sequences)
    for one, other in zip(found.logits, expected.logits, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert [video.kept for video in report.videos] == [video.kept for video in wanted.videos]
    assert [layer.dropped for layer in report.layers] == [layer.dropped for layer in wanted.layers]
    assert 0 < report.tokens_kept < report.tokens_total
    assert all(all(layer.dropped) for layer in report.layers)


def test_an_encoder_of_the_callers_own_is_put_back(asked):
    model, processor = RANDOM_MODELS["llava_onevision"](image_size=56)
    base, plain = model.base_model, model.base_model.get_video_features

    @functools.wraps(plain)
    def own(*args, **given):
        return plain(*args, **given)

    base.get_video_features = own
    with encode_once(model, build_inputs(processor, asked[0], "Who?")):
        assert base.get_video_features is not own
    assert vars(base)["get_video_features"] is own


QUESTION = Question("direction", "Which way?", "up", ("up", "down"))
TRUTH = "a red ring moves left. a blue cross stays. the scene stays."


@pytest.mark.parametrize(("said", "right"), [("up", True), (" Up. ", True), ("up up", False), ("", False)])
def test_an_answer_is_right_but_for_case_spaces_and_full_stop(said, right):
    assert grade(QUESTION, said) == (right, None)


@pytest.mark.parametrize(
    ("said", "right", "facts"),
    [
        (TRUTH, True, 1),
        ("A blue cross stays . a red ring moves left . the scene stays .", True, 1),
        ("a red ring moves right. a blue cross stays. the scene stays.", False, 2 / 3),
        (TRUTH + " a green ring stays.", False, 1),
        ("", False, 0),
    ],
)
def test_a_caption_is_right_if_it_states_every_fact_and_no_other(said, right, facts):
    found = grade(Question("caption", CAPTION, TRUTH, ()), said)
    assert found == (right, pytest.approx(facts))
