"""Conversations with videos and images, as a server asks them."""

import numpy as np
import pytest
from PIL import Image

from sharpv import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.ask import VideoModel, ask
from sharpv.hf.chat import Decoding, Message, chat
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Video

QUESTION = "What moves?"
SHORT = Decoding(max_new_tokens=6)


def clip(frames=5):
    pictures = moving_square(frames=frames, height=112, width=112)
    return Video(pictures, np.arange(frames) / 2, np.arange(frames), frames, 2.0, frames / 2)


def picture():
    return Image.fromarray(moving_square(frames=1, height=112, width=112)[0])


def loaded(family):
    model, processor = RANDOM_MODELS[family](image_size=112)
    return VideoModel(family, model.eval(), processor)


@pytest.fixture(scope="module")
def llava():
    return loaded("llava_onevision")


def user(*parts):
    return Message("user", parts)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "internvl"])
def test_one_question_is_answered_as_ask_answers_it(family):
    model, config, said = loaded(family), SharpVConfig(retention=0.25), []
    reply = chat(model, [user(clip(), QUESTION)], config, SHORT, on_text=said.append)
    expected = ask(model, clip(), QUESTION, config, 6)
    assert reply.text == expected.text == "".join(said)
    assert reply.report.videos[0].kept == expected.report.videos[0].kept
    assert reply.report.layers == expected.report.layers
    assert reply.tokens == 6


def test_every_video_of_a_conversation_is_pruned_and_no_image():
    model = loaded("qwen2_5_vl")  # LLaVA's processor takes videos of one length only
    messages = [
        Message("system", ("Be short.",)),
        user(clip(), picture(), "What is this?"),
        Message("assistant", ("A square.",)),
        user(clip(4), QUESTION),
    ]
    report = chat(model, messages, SharpVConfig(), SHORT).report
    assert [video.frames for video in report.videos] == [3, 2]
    dropped = report.tokens_total - report.tokens_kept
    assert report.prompt_tokens[0] - report.prompt_tokens_kept[0] == dropped > 0


def test_images_shown_as_a_video_stay_images_where_they_are_images():
    model = loaded("internvl")
    report = chat(model, [user(picture(), picture(), QUESTION)], SharpVConfig(), SHORT).report
    assert report.videos == ()
    with pytest.raises(InputError, match="one video and no image"):
        chat(model, [user(clip(), picture(), QUESTION)], SharpVConfig(), SHORT)


def test_it_stops_when_it_is_told_to(llava):
    answers = iter([False, False, True])
    reply = chat(llava, [user(QUESTION)], SharpVConfig(), SHORT, stopped=lambda: next(answers))
    assert (reply.tokens, reply.finished) == (3, False)


def test_an_answer_that_the_model_ends_is_finished(llava, monkeypatch):
    assert not chat(llava, [user("x")], SharpVConfig(), SHORT).finished
    monkeypatch.setattr(llava.model.generation_config, "eos_token_id", list(range(300)))
    reply = chat(llava, [user("x")], SharpVConfig(), SHORT)
    assert (reply.tokens, reply.finished) == (1, True)


def test_sampling_follows_its_seed(llava):
    def sampled(seed):
        decoding = Decoding(max_new_tokens=12, temperature=2.0, top_p=0.9, seed=seed)
        return chat(llava, [user(QUESTION)], SharpVConfig(), decoding).text

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("own", [{"top_k": 1}, {"min_p": 1.0}, {"typical_p": 1e-6}, {"epsilon_cutoff": 0.9}])
def test_a_models_own_settings_leave_sampling_as_it_is_asked(llava, monkeypatch, own):
    def sampled():
        decoding = Decoding(max_new_tokens=6, temperature=2.0, top_p=0.9, seed=1)
        return chat(llava, [user(QUESTION)], SharpVConfig(), decoding).text

    monkeypatch.setattr(llava.model.generation_config, "top_k", 0)
    expected = sampled()
    for name, value in own.items():
        monkeypatch.setattr(llava.model.generation_config, name, value)
    assert sampled() == expected


def test_a_request_without_a_seed_draws_another_one(llava):
    def sampled(seed=None):
        return chat(llava, [user(QUESTION)], SharpVConfig(), Decoding(temperature=2.0, seed=seed)).text

    def after_a_seed():
        sampled(seed=1)
        return sampled()

    assert after_a_seed() != after_a_seed()


@pytest.mark.parametrize("temperature", [5e-324, 1e-9, 0.009])
def test_hardly_any_temperature_is_greedy(llava, temperature):
    decoding = Decoding(max_new_tokens=6, temperature=temperature, seed=0)
    greedy = chat(llava, [user(QUESTION)], SharpVConfig(), SHORT)
    assert chat(llava, [user(QUESTION)], SharpVConfig(), decoding).text == greedy.text


def test_a_conversation_longer_than_the_model_reads_is_refused(llava):
    with pytest.raises(InputError, match="the model reads 32768"):
        chat(llava, [user("x")], SharpVConfig(), Decoding(max_new_tokens=32768))


def test_a_text_with_a_placeholder_is_refused(llava):
    with pytest.raises(InputError, match="tokens for pictures"):
        chat(llava, [user("What is <video>?")], SharpVConfig(), SHORT)


@pytest.mark.parametrize("between", [(), (picture(),)])
def test_a_placeholder_in_pieces_is_refused(llava, between):
    with pytest.raises(InputError, match="tokens for pictures"):
        chat(llava, [user("What is <vid", *between, "eo>?")], SharpVConfig(), SHORT)


def test_texts_of_two_messages_are_not_joined(llava):
    messages = [user("What is <vid"), Message("assistant", ("eo>?",)), user(QUESTION)]
    assert chat(llava, messages, SharpVConfig(), SHORT).tokens == 6
