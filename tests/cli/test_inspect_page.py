"""Pages of real models and clips in a browser: what they keep at any setting is what Python keeps."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

import sharpv
from sharpv.hf.ask import VideoModel, build_inputs, load_model
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.report import Report, VideoReport
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Sampling, Video, read_video, write_video
from tests.browser import shown_counts, turn
from tests.cli.asking import ask, run

FRAMES = 9
SIZES = {"llava_onevision": 384, "qwen2_5_vl": 224}
"""As released, 27 x 27 patches pooled to 14 x 14 tokens; and tokens of 2 x 2 patches of two frames."""

REUSED = {"llava_next_video": 112, "internvl": 112}
"""More whose towers reuse patches: one whose processor crops, and one that is shown images."""

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
        for part in RANDOM_MODELS[family](image_size=(SIZES | REUSED)[family]):
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


@pytest.mark.parametrize("family", [*SIZES, *REUSED])
def test_the_page_marks_what_the_tower_encoded(open_page, saved, tmp_path, family):
    """Four frames of one scene and four of another: the frame after the cut is encoded in full."""
    scene = moving_square(frames=4, height=240, width=320)
    write_video(np.concatenate([scene, 255 - scene[:, ::-1]]), tmp_path / "cut.mp4", fps=4)
    report, size = tmp_path / "report.html", (240, 320)
    options = ("-m", saved(family), "--frames", 8, "--retention", 0.5, "--vision-reuse", "balanced")
    shown = run("inspect", tmp_path / "cut.mp4", *options, "-o", report, "--json").stdout
    (video,) = Report.from_dict(json.loads(shown)["runs"][0]["report"]).videos
    reuse, each = video.reuse, video.source_frames
    cut = 4 // each
    assert reuse.fallback is None
    assert all(reuse.computed[0])
    assert all(reuse.computed[cut])
    others = {sum(frame) for t, frame in enumerate(reuse.computed) if t not in (0, cut)}
    assert 0 < min(others) <= max(others) < len(reuse.computed[0]) / 2
    tab = open_page(report.read_text())
    tab.check("[value=encoded]")
    for frame in range(8):
        tab.locator("#frame").fill(str(frame + 1))
        assert pale(tab, video, size) == [not one for one in reuse.computed[frame // each]]
        caption = tab.inner_text("#caption")
        assert (f"all {len(reuse.computed[0])} patches encoded" in caption) == (frame // each in (0, cut))

    # The knobs choose from the features that the model was given.
    turn(tab, sharpv.SharpVConfig(retention=0.3, vision_reuse="balanced"))
    model, less = saved(family), ("--frames", 8, "--retention", 0.3)
    reusing, dense = (
        Report.from_dict(ask(tmp_path / "cut.mp4", model, *less, *more)["report"]).videos[0]
        for more in (("--vision-reuse", "balanced"), ())
    )
    assert shown_counts(tab) == list(map(sum, reusing.kept))
    ratios = tab.evaluate("Array.from(record.scores.ratios)")
    assert ratios == pytest.approx(reusing.ratios, rel=1e-6, abs=1e-7)
    assert ratios != pytest.approx(dense.ratios, rel=1e-5, abs=1e-6)


def pale(tab, video: VideoReport, size: tuple[int, int]) -> list[bool]:
    """Which patches a canvas shows without colour, and lighter than the frame alone."""
    (rows, columns), (top, left, bottom, right), (height, width) = video.reuse.grid, video.window, size
    canvas = "document.querySelector('canvas')"
    places = [
        (
            (left + (right - left) * (column + 0.5) / columns - min(0, left)) * width,
            (top + (bottom - top) * (row + 0.5) / rows - min(0, top)) * height,
        )
        for row in range(rows)
        for column in range(columns)
    ]
    read = f"""async ([places, width]) => {{
      await drawViews();
      const scale = {canvas}.width / width;
      const context = {canvas}.getContext("2d");
      return places.map(([x, y]) => {{
        return Array.from(context.getImageData(Math.floor(x * scale), Math.floor(y * scale), 1, 1).data);
      }});
    }}"""
    spread = (max(1, right) - min(0, left)) * width
    marked = np.array(tab.evaluate(read, [places, spread]))
    tab.check("[value=picture]")
    alone = np.array(tab.evaluate(read, [places, spread]))
    tab.check("[value=encoded]")
    changed = (marked != alone).any(1)
    assert (marked[changed] >= 153).all()
    assert (np.ptp(marked[changed, :3], axis=1) <= 2).all()
    return changed.tolist()


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
