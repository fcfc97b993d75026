"""One clip and several questions: each row is what the question alone gets."""

import copy

import numpy as np
import pytest
import torch

import sharpv
from sharpv.hf.ask import build_inputs
from sharpv.video import Video
from tests.hf.conftest import QUESTIONS, clip


@pytest.fixture(scope="module")
def video() -> Video:
    numbers = np.arange(4)
    return Video(clip(frames=4), numbers / 4.0, numbers, total_frames=4, fps=4.0, duration=1.0)


def test_each_row_is_its_question_alone_padded_on_the_left(processor, video):
    rows = build_inputs(processor, video, *QUESTIONS)
    for row, question in enumerate(QUESTIONS):
        alone = build_inputs(processor, video, question)
        length = alone["input_ids"].shape[1]
        assert rows["attention_mask"][row].sum() == length
        assert torch.equal(rows["input_ids"][row, -length:], alone["input_ids"][0])
        assert rows["attention_mask"][row, -length:].all()
        pixels = rows["pixel_values_videos"].view(len(QUESTIONS), *alone["pixel_values_videos"].shape)
        assert torch.equal(pixels[row], alone["pixel_values_videos"])
    assert rows["attention_mask"].min() == 0


def test_without_a_clip_there_is_only_text(processor):
    found = build_inputs(processor, None, *QUESTIONS)
    assert "pixel_values_videos" not in found
    text = processor.tokenizer.decode(found["input_ids"][0])
    assert QUESTIONS[0] in text
    assert processor.video_token not in text


def test_tokens_for_pictures_are_refused_in_any_question(processor, video):
    for shown in (video, None):
        with pytest.raises(sharpv.InputError, match=r"holds one of the model's tokens.*leave them out"):
            build_inputs(processor, shown, "What?", f"And {processor.video_token}?")


def test_a_long_question_that_is_refused_is_not_told_whole(processor):
    with pytest.raises(sharpv.InputError, match="leave them out") as refused:
        build_inputs(processor, None, "x" * 100_000 + processor.video_token)
    assert len(str(refused.value)) < 500


def test_several_questions_need_a_token_to_pad_with(processor, video):
    bare = copy.deepcopy(processor)
    bare.tokenizer.pad_token = None
    assert len(build_inputs(bare, video, "What?")["input_ids"]) == 1
    with pytest.raises(sharpv.InputError, match=r"2 questions at once.*no pad_token: set one, or ask"):
        build_inputs(bare, video, "What?", "Why?")
