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


OVERRIDES = '{"rope_theta": 1e6, "text_config": {"max_window_layers": 2}}'


@pytest.mark.parametrize(
    "words",
    [
        ["--hf-overrides", OVERRIDES],
        [f"--hf-overrides={OVERRIDES}"],
        ["--hf_overrides", OVERRIDES],
        ["--hf-over", OVERRIDES],
    ],
)
def test_overrides_of_a_user_are_joined_to_ours(model, words):
    _, arguments = dry_run(model, *words, "--enforce-eager")
    (at,) = (i for i, word in enumerate(arguments) if word.startswith("--hf"))
    overrides = json.loads(arguments[at + 1])
    assert overrides["architectures"] == ["SharpVLlavaOnevisionForConditionalGeneration"]
    assert overrides["sharpv"]["keep"] == 0.25
    assert {name: overrides[name] for name in json.loads(OVERRIDES)} == json.loads(OVERRIDES)
    assert arguments[-1] == "--enforce-eager"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hf-overrides", '{"architectures": ["Other"]}'], "['architectures'] in --hf-overrides"),
        (["--hf-overrides", '{"sharpv": {"keep": 1}}'], "['sharpv'] in --hf-overrides"),
        (["--hf-overrides.sharpv.keep", "1"], "as one JSON object"),
        (["--hf-overrides", "[1]"], "as one JSON object"),
        (["--hf-overrides"], "as one JSON object"),
        (["--video-pruning-rate", "0.5"], "give --keep"),
        (["--video_pruning_rate=0.5"], "give --keep"),
        (["--mm-processor-kwargs", '{"sharpv_keep": 0.1}'], "give the server --keep"),
        (["--mm-processor-kwargs.sharpv_keep", "0.1"], "give the server --keep"),
    ],
)
def test_what_would_switch_us_off_is_refused_before_anything_is_started(model, words, message):
    assert message in refuse("serve", model, *words)


def test_other_options_of_the_processor_are_for_vllm(model):
    words = ["--mm-processor-kwargs", '{"fps": 1}', "--video-pruning-method", "evs"]
    assert dry_run(model, *words)[1][-4:] == words


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["--kep", "0.1"], "--keep"), (["--gian=2"], "--gain"), (["--dry_run"], "--dry-run")],
)
def test_what_is_almost_an_option_of_ours_does_not_go_to_vllm(model, words, meant):
    assert f"did you mean {meant}?" in run("serve", model, *words, ok=2).output


@pytest.mark.parametrize("words", [["--enforce-eager"], ["-tp", "2"], ["--tensor-parallel-size", "2"]])
def test_an_option_of_vllm_before_the_model_is_a_wrong_use(model, words):
    assert "put MODEL first" in run("serve", *words, model, ok=2).output


@pytest.mark.parametrize("coverage", ["3", "-1", "nan"])
def test_a_bad_coverage_is_refused_with_what_is_accepted(model, coverage):
    message = refuse("serve", model, f"--coverage={coverage}")
    assert "must be a number in [0, 1]" in message
    assert "--debug" not in message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "holds a list, not an object"),
        ({"architectures": "Other"}, "got a model of Other"),
        ({"architectures": 3}, "got a model of 3"),
        ({"architectures": [3]}, "got a model of [3]"),
        ({}, "got a model of no architecture"),
    ],
)
def test_a_config_that_names_no_model_is_refused(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert message in refuse("serve", tmp_path, "--dry-run")


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


@pytest.mark.parametrize("error", [ImportError("no libcudart"), ModuleNotFoundError("torch", name="torch")])
def test_a_vllm_that_cannot_be_imported_is_not_said_to_be_absent(model, monkeypatch, error):
    class Broken:
        def find_spec(self, name, *_):
            if name == "vllm":
                raise error

    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    message = refuse("serve", model)
    assert f"cannot be imported ({error})" in message
    assert "not installed" not in message


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
    assert "at least 2" in run("calibrate", clips[1], "-m", model, "--frames", 8, ok=2).output
