"""`sharpv ask` on odd and broken clips, wrong options, and models that are not there."""

import json
import shutil
import wave

import av
import numpy as np
import pytest
from transformers import Qwen2Config

from sharpv.hf.families import FAMILIES
from sharpv.video import write_video
from tests.cli.asking import SHORT, check_truth, refuse, run


def test_a_missing_file(tmp_path, model):
    assert "nothing.mp4" in refuse("ask", tmp_path / "nothing.mp4", "What?", "-m", model)


def test_an_empty_file(tmp_path, model):
    (tmp_path / "empty.mp4").touch()
    assert "empty" in refuse("ask", tmp_path / "empty.mp4", "What?", "-m", model)


def test_a_text_file_with_a_video_name(tmp_path, model):
    (tmp_path / "notes.mp4").write_text("This is no video.\n" * 100)
    assert "notes.mp4" in refuse("ask", tmp_path / "notes.mp4", "What?", "-m", model)


def test_an_audio_file(tmp_path, model):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(16000))
    assert "audio" in refuse("ask", tmp_path / "sound.wav", "What?", "-m", model)


def test_a_truncated_file_gives_what_is_there_and_a_warning(tmp_path, clip, model):
    # An index in front of the pictures survives the cut.
    whole = tmp_path / "whole.mp4"
    with av.open(str(clip)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    data = whole.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 3 // 4])
    result = run("ask", tmp_path / "cut.mp4", "What?", "-m", model, *SHORT, "--json")
    found = json.loads(result.stdout)
    assert 0 < found["video"]["total_frames"] < 12
    assert found["video"]["warnings"]
    assert "warning: " in result.stderr
    check_truth(found, frames=found["video"]["total_frames"])


def test_a_truncated_file_without_an_index(tmp_path, clip, model):
    data = clip.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    assert "cut.mp4" in refuse("ask", tmp_path / "cut.mp4", "What?", "-m", model)


@pytest.mark.parametrize("token", ["<video>", "<image>"])
def test_a_question_with_the_models_own_tokens(clip, model, token):
    assert "out of the question" in refuse("ask", clip, f"What is {token}?", "-m", model)


def test_a_clip_of_a_shape_that_the_model_refuses(model_folder, tmp_path):
    write_video(np.zeros((3, 8, 2000, 3), np.uint8), tmp_path / "wide.mp4", fps=3)
    error = refuse("ask", tmp_path / "wide.mp4", "What?", "-m", model_folder("qwen2_5_vl"))
    assert "aspect ratio" in error
    assert "frames of 2000 x 8 pixels" in error
    assert "tokens" not in error


def test_a_model_with_damaged_weights(clip, model, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    (damaged / "model.safetensors").write_bytes(b"x" * 100)
    assert "whole model" in refuse("ask", clip, "What?", "-m", damaged)


def test_a_folder_that_is_not_there(clip, tmp_path):
    assert "config.json" in refuse("ask", clip, "What?", "-m", tmp_path / "no-model")


def test_a_folder_without_a_model(clip, tmp_path):
    assert str(tmp_path) in refuse("ask", clip, "What?", "-m", tmp_path)


def test_an_unsupported_model(clip, tmp_path):
    Qwen2Config().save_pretrained(tmp_path)
    error = refuse("ask", clip, "What?", "-m", tmp_path)
    assert "'qwen2'" in error
    assert ", ".join(sorted(FAMILIES)) in error
    assert "docs/adding-a-model.md" in error


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--retention", "1.5"), "(0, 1]"),
        (("--retention", "much"), "neither 'adaptive' nor a number"),
        (("--retention", "0.5", "--threshold", "1"), "set one of the two"),
        (("--frames", "0"), "--frames"),
        (("--frames", "4", "--fps", "1"), "one of them"),
        (("--dense", "--coverage", "0.5"), "prunes nothing"),
        (("--bucket", "0"), "a whole number of at least 1"),
        (("--vision-reuse", "fast"), "'fast' is not one of 'balanced', 'safe'"),
        (("--vision-reuse", "safe", "--dense"), "prunes nothing"),
        (("--no-memory", "--memory-threshold", "0.5"), "excludes"),
        (("--config", "missing.yaml"), "missing.yaml"),
        (("--no-such-option",), "No such option"),
    ],
)
def test_wrong_options_are_usage_errors(clip, options, reason):
    result = run("ask", clip, "What?", *options, ok=2)
    assert reason in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("retentoin: 0.5", "retentoin"),
        ("1: 2\nfoo: 3", "foo"),
        ("- 1", "no mapping"),
        ("a: [", "cannot read"),
    ],
)
def test_a_wrong_file_is_a_usage_error(clip, tmp_path, content, reason):
    (tmp_path / "run.yaml").write_text(content)
    result = run("ask", clip, "What?", "--config", tmp_path / "run.yaml", ok=2)
    assert reason in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [("--dtype", "int4", "auto, float32, bfloat16, float16"), ("--device", "cuda:99", "cuda:99")],
)
def test_a_wrong_device_or_dtype(clip, model, option, value, reason):
    assert reason in refuse("ask", clip, "What?", "-m", model, option, value)
