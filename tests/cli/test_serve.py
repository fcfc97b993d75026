"""`sharpv serve` and `sharpv calibrate`, as far as they go without vLLM."""

import json
import shlex
import sys

import pytest

from sharpv.video import write_video
from tests.cli.asking import refuse, run
from tests.engines.vllm.toys import clip


def dry_run(*arguments):
    """Returns the variables and the arguments of the command that would run."""
    words = shlex.split(run("serve", *arguments, "--dry-run").stdout)
    start = words.index("vllm")
    return dict(word.split("=", 1) for word in words[:start]), words[start + 1 :]


def after(arguments, name):
    return arguments[arguments.index(name) + 1]


@pytest.mark.parametrize("keep", [0.12, "auto"])
def test_the_command_asks_vllm_for_the_architecture_that_prunes(model, keep):
    environment, arguments = dry_run(model, "--keep", keep, "--port", "9001", "--coverage", "0.5")
    assert arguments[:2] == ["serve", model]
    overrides = json.loads(after(arguments, "--hf-overrides"))
    assert overrides["architectures"] == ["SharpVLlavaOnevisionForConditionalGeneration"]
    assert (overrides["sharpv"]["keep"], overrides["sharpv"]["coverage"]) == (keep, 0.5)
    assert (after(arguments, "--host"), after(arguments, "--port")) == ("127.0.0.1", "9001")
    assert environment == {"VLLM_MEDIA_CONNECTOR": "sharpv-public", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}


def test_private_addresses_are_for_who_asks(model):
    assert dry_run(model, "--allow-private-media")[0] == {"VLLM_MEDIA_CONNECTOR": "sharpv-any"}


def test_what_we_do_not_know_is_for_vllm(model):
    _, arguments = dry_run(model, "--tensor-parallel-size", "2", "--enforce-eager")
    assert arguments[-3:] == ["--tensor-parallel-size", "2", "--enforce-eager"]


@pytest.mark.parametrize("keep", ["0", "1.5", "-1", "nan"])
def test_a_bad_share_is_refused_before_anything_is_started(model, keep):
    assert "give a number in (0, 1], or 'auto'" in refuse("serve", model, f"--keep={keep}")


def test_a_share_that_is_no_number_is_a_wrong_use(model):
    assert "neither a number nor 'auto'" in run("serve", model, "--keep", "much", ok=2).output


def test_a_model_that_is_not_pruned_is_refused_by_name(model_folder):
    message = refuse("serve", model_folder("video_llava"), "--dry-run")
    assert "VideoLlavaForConditionalGeneration" in message
    assert "Qwen2_5_VLForConditionalGeneration" in message


def test_a_folder_without_a_model_is_refused(tmp_path):
    assert "give a model's directory" in refuse("serve", tmp_path, "--dry-run")


def test_without_vllm_the_way_to_it_is_said(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    assert 'pip install "vllm>=0.32,<0.33"' in refuse("serve", model)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{kind}.mp4" for kind in ("still", "cut", "noise")]
    for path in paths:
        write_video(clip(path.stem), path, fps=4)
    return paths


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl"])
def test_calibrating_tells_the_gain_and_its_error(model_folder, clips, family):
    found = json.loads(run("calibrate", *clips, "-m", model_folder(family), "--frames", 8, "--json").stdout)
    assert found["gain"] > 0
    assert [row["clip"] for row in found["clips"]] == list(map(str, clips))
    for row in found["clips"]:
        assert row["error"] == pytest.approx(row["estimated"] / row["adaptive"] - 1, abs=1e-4)
    assert found["mean_error"] == pytest.approx(
        sum(abs(row["error"]) for row in found["clips"]) / 3, abs=1e-3
    )


def test_calibrating_on_one_clip_is_refused(model, clips):
    assert "at least 2" in refuse("calibrate", clips[1], "-m", model, "--frames", 8)
