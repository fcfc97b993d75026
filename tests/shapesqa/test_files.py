"""Datasets on disk: whole and readable, or refused with a reason."""

import json
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from sharpv.errors import InputError
from sharpv.shapesqa import files as files_module
from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import MARK, QUESTIONS, load, write
from sharpv.video import Sampling, read_video

CLIPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dataset") / "new" / "test"
    write(folder, CLIPS, seed=4)
    return folder


@pytest.fixture
def lines(folder, tmp_path):
    """The lines of a copy, and what writes them back; the clips are the same files."""
    (tmp_path / "videos").symlink_to(folder / "videos")
    found = [json.loads(line) for line in (folder / QUESTIONS).read_text().splitlines()]

    def save() -> Path:
        (tmp_path / QUESTIONS).write_text("".join(json.dumps(line) + "\n" for line in found))
        return tmp_path

    return found, save


def test_what_is_written_is_read_back(folder):
    records = iter(load(folder))
    for sample in islice(iterate("test", seed=4), CLIPS):
        for question in sample.questions:
            record = next(records)
            assert record.video == folder / "videos" / f"{sample.name}.mp4"
            assert (record.question, record.answer) == (question.text, question.answer)
            assert (record.options, record.family) == (question.options, question.family)
            assert (record.scene, record.noise) == (sample.scene.type, sample.scene.noise)
            assert (record.split, record.seed, record.size, record.frames) == ("test", 4, 64, 8)
            assert record.truth == json.loads(json.dumps(sample.scene.to_dict()))
    assert next(records, None) is None


def test_the_clips_are_whole_and_marked(folder):
    for sample in islice(iterate("test", seed=4), CLIPS):
        video = read_video(folder / "videos" / f"{sample.name}.mp4", Sampling.all())
        assert video.comment == f"{MARK} {sample.name}"
        assert video.fps == 4
        frames = render_clip(sample.scene)
        assert video.frames.shape == frames.shape
        # Half the chroma is lost at the edges of small shapes.
        assert np.abs(video.frames.astype(int) - frames).mean() < 7


def test_the_truth_tells_where_each_shape_is(folder):
    for record in load(folder):
        for shape in record.truth["shapes"]:
            assert np.array(shape["path"]).shape == (8, 2)
            first, last = shape["visible"]
            assert 0 <= first <= last <= 7


def test_the_same_settings_write_the_same_questions(folder, tmp_path):
    write(tmp_path / "again", CLIPS, seed=4)
    assert (tmp_path / "again" / QUESTIONS).read_bytes() == (folder / QUESTIONS).read_bytes()


def test_odd_sizes_other_lengths_and_one_type(tmp_path):
    done = []
    records = write(tmp_path, 3, size=33, frames=4, scene_type="pan", split="combinations", log=done.append)
    assert {record.scene for record in records} == {"pan"}
    assert done[-1] == 3
    assert read_video(records[0].video).frames.shape == (4, 34, 34, 3)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_dataset_that_is_cut_off_leaves_nothing(tmp_path, monkeypatch, error):
    fair, calls = files_module.write_clip, []

    def cut_off(*arguments):
        calls.append(arguments)
        if len(calls) > 2:
            raise error
        fair(*arguments)

    monkeypatch.setattr(files_module, "write_clip", cut_off)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        write(tmp_path / "a" / "b", 4)
    assert list(tmp_path.iterdir()) == []


def test_a_part_is_not_taken_for_the_whole(tmp_path, monkeypatch):
    """As a power failure leaves it: nothing could be cleared away."""
    monkeypatch.setattr(Path, "rename", lambda path, to: None)
    with pytest.raises(
        InputError, match=r"cut off while it was made; make a dataset with 'sharpv shapesqa make"
    ):
        write(tmp_path, 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "tset"}, "split 'tset'"),
        ({"scene_type": "still"}, "scene_type 'still'"),
        ({"frames": 3}, "frames 3"),
        ({"size": 8}, "at least 16 pixels"),
        ({"seed": -1}, "must not be negative"),
        ({"seed": 1 << 32}, r"less than 2\^32"),
    ],
)
def test_wrong_settings_touch_no_folder(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "new", 1, **settings)
    assert list(tmp_path.iterdir()) == []


def test_no_folder_and_no_dataset(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=r"cannot read .*questions\.jsonl"):
            load(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        write(tmp_path / "file" / "sub", 1)
    (tmp_path / QUESTIONS).write_text("")
    with pytest.raises(InputError, match="holds no question"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"video": "videos/gone.mp4"}, "gone.mp4' is missing or empty"),
        ({"video": "../videos/x.mp4"}, "not inside the dataset"),
        ({"answer": 3}, "'answer' is 3; must be str"),
        ({"answer": "plaid"}, "answer 'plaid': must be one of"),
        ({"family": "colour"}, "family 'colour': must be one of recog"),
        ({"options": None}, "'options' is None; must be list"),
        ({"id": "test-4-000000-00"}, "was there before"),
    ],
)
def test_a_damaged_line_is_named(lines, change, message):
    found, save = lines
    found[1] |= change
    with pytest.raises(InputError, match="line 2: .*" + re.escape(message)):
        load(save())


def test_lines_that_are_no_records(lines):
    _, save = lines
    place = save()
    text = (place / QUESTIONS).read_text()
    for broken, message in ((text[:-9], "not JSON"), (text + "[]\n", "no JSON object")):
        (place / QUESTIONS).write_text(broken)
        with pytest.raises(InputError, match=message):
            load(place)


def test_a_clip_that_was_lost_is_named(tmp_path):
    record = write(tmp_path, 1)[0]
    record.video.write_bytes(b"")
    with pytest.raises(InputError, match=r"line 1: its clip .* is missing or empty"):
        load(tmp_path)
