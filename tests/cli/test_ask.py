"""`sharpv ask`, on clips that are sound, odd and broken, and on models that are there and are not."""

import json
import shutil
import wave
from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from transformers import AutoProcessor, Qwen2Config
from typer.testing import CliRunner

from sharpv.cli.app import app
from sharpv.hf.ask import build_inputs
from sharpv.hf.families import FAMILIES
from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import write_clip
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Video, write_video
from tests.hf.conftest import NEEDS

SHORT = ("--max-new-tokens", "2")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Callable[[str], Path]:
    """Gives a folder with a saved tiny model of a family, with small frames."""

    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        model, processor = RANDOM_MODELS[family](image_size=112)
        model.save_pretrained(path)
        processor.save_pretrained(path)
        return path

    return folder


@pytest.fixture(scope="session")
def model(model_folder) -> str:
    return str(model_folder("llava_onevision"))


@pytest.fixture
def clip(tmp_path) -> Path:
    path = tmp_path / "clip.mp4"
    write_video(moving_square(frames=12, height=96, width=128), path, fps=6)
    return path


def run(*arguments: object, ok: int = 0):
    """Runs a command; its exit code must be `ok`, and no traceback may show."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == ok, result.output
    assert "Traceback" not in result.output
    return result


def ask(video: object, model: object, *options: object) -> dict:
    """Asks with `--json`; returns what stdout holds, which must be one line of JSON."""
    result = run("ask", video, "What moves?", "-m", model, *SHORT, *options, "--json")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def refuse(*arguments: object) -> str:
    """Runs a command that fails; returns its only line of error."""
    result = run(*arguments, ok=1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert result.stderr.splitlines()[-1] == lines[0]
    assert result.stdout == ""
    return lines[0]


def check_truth(found: dict, frames: int, tokens_per_frame: int = 16) -> None:
    """The counts must agree with each other and with the clip."""
    report = found["report"]
    video = report["videos"][0]
    assert found["video"]["frames"] == len(found["video"]["timestamps"]) == frames
    assert (video["frames"], video["tokens_per_frame"]) == (frames, tokens_per_frame)
    kept = np.array(video["kept"])
    assert kept.shape == (frames, tokens_per_frame)
    assert report["tokens_kept"] == video["tokens_kept"] == kept.sum()
    assert report["tokens_total"] == frames * tokens_per_frame
    assert kept.sum(1).min() >= report["config"]["min_tokens_per_frame"]
    dropped = report["tokens_total"] - report["tokens_kept"]
    assert report["prompt_tokens"][0] - report["prompt_tokens_kept"][0] == dropped
    assert 0 < report["cache_bytes"] <= report["dense_cache_bytes"]


def test_every_real_clip(real_clip, model):
    path, total = real_clip
    found = ask(path, model, "--frames", 8)
    assert found["video"]["total_frames"] == total
    check_truth(found, frames=8)
    assert found["report"]["tokens_kept"] < found["report"]["tokens_total"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_from_a_folder(family, model_folder, clip):
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    found = ask(clip, model_folder(family), "--frames", 6)
    assert found["report"]["model"] == family
    assert found["report"]["tokens_kept"] < found["report"]["tokens_total"]
    assert found["model"] == str(model_folder(family))


def of_the_toy(stderr: str) -> list[str]:
    """Every line of stderr that is about the toy or is a warning."""
    return [line for line in stderr.splitlines() if "toy" in line or line.startswith("warning: ")]


@pytest.fixture(scope="session")
def shapesqa_clip(tmp_path_factory) -> Path:
    """A clip of the toy's world."""
    path = tmp_path_factory.mktemp("shapesqa") / "clip.mp4"
    sample = next(iterate("test", frames=12))
    write_clip(sample, render_clip(sample.scene), path)
    return path


def test_without_a_model_the_toy_answers_from_eight_frames(shapesqa_clip):
    result = run("ask", shapesqa_clip, "Does the scene change?", *SHORT, "--json")
    found = json.loads(result.stdout)
    assert found["model"] == "toy:default"
    check_truth(found, frames=8, tokens_per_frame=64)
    (line,) = of_the_toy(result.stderr)
    assert "no model given (-m)" in line
    assert "synthetic world" in line
    assert "Loading weights" not in result.stderr


def test_a_toy_that_is_named_is_loaded_by_its_name(shapesqa_clip):
    result = run("ask", shapesqa_clip, "Does the scene change?", *SHORT, "-m", "toy:dense", "--json")
    assert json.loads(result.stdout)["model"] == "toy:dense"
    (line,) = of_the_toy(result.stderr)
    assert line.startswith("loading toy:dense, which knows only")


@pytest.mark.parametrize(("option", "frames"), [(("--frames", 5), 5), (("--fps", 2), 6)])
def test_the_toy_reads_the_frames_that_are_asked_for(shapesqa_clip, option, frames):
    result = run("ask", shapesqa_clip, "Does the scene change?", *SHORT, *option, "--json")
    check_truth(json.loads(result.stdout), frames=frames, tokens_per_frame=64)


def test_the_toy_says_what_is_not_of_its_world(clip):
    result = run("ask", clip, "What does the Dog chase?", *SHORT, "--json")
    check_truth(json.loads(result.stdout), frames=8, tokens_per_frame=64)
    _, about_clip, about_words = of_the_toy(result.stderr)
    assert "not of the toy's world" in about_clip
    assert "does not know 'Dog', 'chase'" in about_words


def test_a_real_clip_is_not_of_the_toys_world(videos):
    result = run("ask", videos / "flower.mp4", "How many shapes move?", *SHORT)
    assert "not of the toy's world" in of_the_toy(result.stderr)[1]


def test_with_a_model_nothing_is_said_of_the_toy(clip, model):
    result = run("ask", clip, "What does the dog chase?", "-m", model, "--frames", 2, *SHORT)
    assert of_the_toy(result.stderr) == []


def test_one_frame(tmp_path, model):
    write_video(moving_square(frames=1, height=96, width=128), tmp_path / "one.mp4", fps=6)
    check_truth(ask(tmp_path / "one.mp4", model), frames=1)


def test_identical_frames_keep_the_minimum(tmp_path, model):
    still = np.repeat(moving_square(frames=1, height=96, width=128), 6, axis=0)
    write_video(still, tmp_path / "still.mp4", fps=6)
    found = ask(tmp_path / "still.mp4", model)
    check_truth(found, frames=6)
    assert [sum(frame) for frame in found["report"]["videos"][0]["kept"]][1:] == [1] * 5


def test_a_clip_shorter_than_asked(tmp_path, model):
    write_video(moving_square(frames=3, height=96, width=128), tmp_path / "three.mp4", fps=6)
    found = ask(tmp_path / "three.mp4", model, "--frames", 32)
    check_truth(found, frames=3)
    assert found["video"]["indices"] == [0, 1, 2]


def test_dense_reads_everything(clip, model):
    found = ask(clip, model, "--frames", 6, "--dense")
    check_truth(found, frames=6)
    assert found["report"]["tokens_kept"] == found["report"]["tokens_total"]
    assert found["report"]["cache_bytes"] == found["report"]["dense_cache_bytes"]


def test_the_options_reach_the_configuration(clip, model, tmp_path):
    found = ask(clip, model, "--frames", 6, "--retention", 0.25, "--coverage", 0.5, "--no-memory")
    assert found["report"]["tokens_kept"] == round(0.25 * 6 * 16)
    assert found["report"]["layers"] == []
    assert ask(clip, model, "--fps", 2)["video"]["frames"] == 4
    assert ask(clip, model, "--threshold", 0)["report"]["tokens_kept"] == 12 * 16
    (tmp_path / "run.yaml").write_text("retention: 0.5\nmemory_threshold: 2.0\n")
    found = ask(clip, model, "--config", tmp_path / "run.yaml", "--retention", 0.25)
    assert found["report"]["tokens_kept"] == round(0.25 * 12 * 16)
    assert all(layer["dropped"] == [True] for layer in found["report"]["layers"])
    assert (
        ask(clip, model, "--dtype", "bfloat16")["report"]["dense_cache_bytes"] * 2
        == (ask(clip, model, "--dtype", "float32")["report"]["dense_cache_bytes"])
    )


def test_the_answer_goes_to_stdout_and_the_counts_to_stderr(clip, model):
    result = run("ask", clip, "What moves?", "-m", model, "--frames", 4, *SHORT)
    assert "reading the video" in result.stderr
    assert "of 64 video tokens" in result.stderr
    assert "video tokens" not in result.stdout


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


def test_times_and_rate_reach_the_model(clip, model_folder):
    """Qwen2.5-VL spaces its time axis by them."""
    processor = AutoProcessor.from_pretrained(model_folder("qwen2_5_vl"))
    frames = moving_square(frames=4, height=112, width=112)
    for rate, indices, seconds in (
        (4.0, [0, 1, 2, 3], 0.5),
        (4.0, [0, 4, 8, 12], 2.0),
        (8.0, [0, 4, 8, 12], 1.0),
    ):
        video = Video(
            frames, np.array(indices) / rate, np.array(indices), indices[-1] + indices[1], rate, None
        )
        found = build_inputs(processor, video, "What?")["second_per_grid_ts"]
        assert float(found[0]) == pytest.approx(seconds)


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
