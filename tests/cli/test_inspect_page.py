"""Pages of real models and clips in a browser: what they keep at any setting is what Python keeps."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from playwright.sync_api import expect

import sharpv
from sharpv.hf.ask import VideoModel, build_inputs, load_model
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Sampling, Video, read_video, write_video
from tests.browser import shown_counts, turn
from tests.cli.asking import run

FRAMES = 9
SIZES = {"llava_onevision": 384, "qwen2_5_vl": 224}
"""As released, 27 x 27 patches pooled to 14 x 14 tokens; and tokens of 2 x 2 patches of two frames."""

SETTINGS = [
    sharpv.SharpVConfig(),
    sharpv.SharpVConfig(spatial_weight=0.0),
    sharpv.SharpVConfig(spatial_weight=2.75, min_tokens_per_frame=0),
    sharpv.SharpVConfig(retention=0.12),
    sharpv.SharpVConfig(retention=0.4, coverage=0.5, spatial_weight=0.3),
    sharpv.SharpVConfig(threshold=0.9, min_tokens_per_frame=5),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Callable[[str], Path]:
    @cache
    def folder(family: str) -> Path:
        path = tmp_path_factory.mktemp(family)
        for part in RANDOM_MODELS[family](image_size=SIZES[family]):
            part.save_pretrained(path)
        return path

    return folder


@pytest.fixture
def clip(request, tmp_path) -> Path:
    """One of the real clips, or a made one."""
    if request.param != "made":
        return request.getfixturevalue("videos") / request.param
    write_video(moving_square(frames=24, height=120, width=160), tmp_path / "made.mp4", fps=8)
    return tmp_path / "made.mp4"


def features_of(loaded: VideoModel, video: Video) -> tuple[torch.Tensor, tuple[int, int]]:
    """What the model makes of a clip, `[n, f, d]`, and the grid of a frame, without a session."""
    model, family = loaded.model, FAMILIES[loaded.model.config.model_type]
    inputs = build_inputs(loaded.processor, video, "Describe the video.")
    with torch.no_grad():
        encoded, _ = encode_video(model.base_model, family, inputs)
    counts = (inputs["input_ids"] == getattr(model.config, family.placeholder)).sum(1).tolist()
    (layout,) = family.layouts(inputs, model.base_model, counts)
    tokens = layout.frames * layout.tokens_per_frame
    features = flatten(encoded, layout.tokens)[:tokens]
    return features.view(layout.frames, layout.tokens_per_frame, -1), layout.grid


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize("clip", ["flower.mp4", "nasa_13013.mp4", "made"], indirect=True)
def test_a_reader_turns_the_knobs_of_a_real_run(open_page, saved, clip, family, tmp_path):
    report = tmp_path / "report.html"
    run("inspect", clip, "-m", saved(family), "--frames", FRAMES, "-o", report)
    features, grid = features_of(load_model(str(saved(family))), read_video(clip, Sampling(frames=FRAMES)))
    tab = open_page(report.read_text())
    for config in SETTINGS:
        turn(tab, config)
        assert shown_counts(tab) == sharpv.keep_mask(features, config, grid).sum(1).tolist(), config
    tab.click("text=Back to the run")
    assert shown_counts(tab) == sharpv.keep_mask(features, sharpv.SharpVConfig(), grid).sum(1).tolist()

    slider = tab.locator("#frame")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 8, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    tab.mouse.up()
    expect(tab.locator("#caption")).to_contain_text(f"Frame 5 of {FRAMES}")
    tab.click("#play")
    expect(tab.locator("#caption")).to_contain_text(f"Frame {FRAMES} of {FRAMES}")
    expect(tab.locator("#play")).to_have_text("Play")


def test_hostile_names_and_questions_are_shown_as_text(open_page, saved, tmp_path):
    name, question = "<img src=x onerror=alert(1)>.mp4", "</script><script>alert(2)</script> {{ 7 * 7 }}?"
    write_video(moving_square(frames=4, height=64, width=96), tmp_path / name, fps=4)
    report = tmp_path / "report.html"
    run(
        "inspect",
        tmp_path / name,
        "-q",
        question,
        "-m",
        saved("qwen2_5_vl"),
        "--max-new-tokens",
        2,
        "-o",
        report,
    )
    tab = open_page(report.read_text())
    assert tab.inner_text("h1") == name
    assert tab.inner_text("#question") == question
    assert question in tab.input_value("#cli")
    assert tab.locator("img").count() == 0


def test_the_film_plays_to_its_end(chromium, saved, tmp_path):
    write_video(moving_square(frames=24, height=120, width=160), tmp_path / "clip.mp4", fps=8)
    options = ("-m", saved("qwen2_5_vl"), "--frames", 6, "--json")
    for name, more, frames in (("some", (), 6), ("all", ("--all-frames",), 24)):
        film = tmp_path / f"{name}.mp4"
        shown = json.loads(run("inspect", tmp_path / "clip.mp4", *options, *more, "-o", film).stdout)
        assert shown["total_frames"] == 24
        tab = chromium.new_page()
        tab.goto(film.as_uri())
        tab.evaluate(
            """async () => {
                const video = document.querySelector("video");
                video.muted = true;
                video.currentTime = 0;
                await video.play();
                if (!video.ended) await new Promise((done) => video.addEventListener("ended", done));
            }"""
        )
        seconds, failure = tab.evaluate("(v => [v.duration, v.error])(document.querySelector('video'))")
        tab.close()
        video = read_video(film, Sampling.all())
        assert failure is None
        assert len(video.frames) == video.total_frames == frames
        assert seconds == pytest.approx(frames / video.fps, abs=0.1)
