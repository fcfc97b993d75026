"""`sharpv ask` without `-m`: the toy answers, and says what it is."""

import json
from pathlib import Path

import pytest

from sharpv.shapesqa import iterate, render_clip
from sharpv.shapesqa.files import write_clip
from tests.cli.asking import SHORT, check_truth, run


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
