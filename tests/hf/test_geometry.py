"""Which rectangle of the clip's frames a token stands for: each is found by lighting it, in every family."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle, islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlavaNextVideoVideoProcessor

import sharpv
from sharpv.hf.ask import VideoModel, ask, build_inputs
from sharpv.hf.families import FAMILIES
from sharpv.hf.features import encode_video, flatten
from sharpv.hf.geometry import picture_window, with_windows
from sharpv.hf.pllava import load_pllava
from sharpv.methods import Selection
from sharpv.report import VideoReport
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Video
from sharpv.viz.geometry import token_box
from tests.hf.conftest import OFF, Config, built, clip
from tests.hf.published_pllava import build

Case = tuple[str, int | str]
CROPPED = ("llava_next_video", "video_llava")
EXACT = [(family, 112) for family in sorted(FAMILIES)]
"""Pictures that patches of 14 pixels cover."""

PADDED = ("video_llava", "padded")
"""98 pixels high, or wide, with a crop of 112."""

UNCOVERED = [(family, 120) for family in ("internvl", "llava_onevision", "smolvlm", "video_llava")]
"""8 pixels at the bottom and at the right belong to no patch."""

ODD = ("llava_onevision", 384)
"""As released: 27 x 27 patches cover 378 pixels, and are pooled to 14 x 14 tokens."""

PLLAVA = ("pllava", 112)
SEEN_IN_PART = {
    **{(family, 112): (112, 160) for family in CROPPED},
    **{(family, 120): (120, 120) for family in ("internvl", "llava_onevision", "smolvlm")},
    ("video_llava", 120): (120, 160),
    ODD: (384, 384),
    PADDED: (98, 160),
    PLLAVA: (112, 160),
}
"""With frames, (height, width), that need no resizing."""

SHAPES = {"landscape": (120, 160), "portrait": (160, 120)}

SMEAR = 6
"""Pixels of a frame beyond its rectangle that reach a token: resampling and pooling smooth the edges."""


@cache
def load(family: str, size: int | str) -> VideoModel:
    built(family)  # skips what cannot run here
    model, processor = RANDOM_MODELS[family](image_size=112 if size == "padded" else size)
    if size == "padded":
        processor.video_processor.size = {"shortest_edge": 98}
    return VideoModel(family, model, processor)


@pytest.fixture(scope="module")
def pllava(tmp_path_factory) -> VideoModel:
    folder = tmp_path_factory.mktemp("pllava")
    build(folder, PLLAVA[1])
    return VideoModel("pllava", *load_pllava(folder))


@pytest.fixture
def loaded(request) -> VideoModel:
    return find(request.param, request)


def find(case: Case, request: pytest.FixtureRequest) -> VideoModel:
    return request.getfixturevalue("pllava") if case == PLLAVA else load(*case)


def name(case: Case) -> str:
    return "-".join(map(str, case))


def of(*cases: Case) -> Any:
    return pytest.mark.parametrize("loaded", cases, indirect=True, ids=name)


def as_video(frames: np.ndarray) -> Video:
    indices = np.arange(len(frames))
    return Video(frames, indices / 4, indices, len(frames), 4.0, len(frames) / 4)


def dark(loaded: VideoModel, height: int, width: int, frames: int = 9) -> np.ndarray:
    """A still clip of noise, of an odd number of frames where the family takes any."""
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8)
    return frame.repeat(16 if loaded.name == "pllava" else frames, axis=0)


def look(loaded: VideoModel, frames: np.ndarray) -> VideoReport:
    return ask(loaded, as_video(frames), "What?", OFF, max_new_tokens=1).report.videos[0]


@contextmanager
def without_attention(base: Any) -> Iterator[None]:
    """What is left of the vision tower looks at each patch for itself."""
    llm = set(base.get_decoder().modules())
    modules = [
        module
        for name, module in base.named_modules()
        if name.rpartition(".")[2] in ("attn", "attention", "self_attn") and module not in llm
    ]
    assert modules

    def silence(module: Any, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return torch.zeros_like(output[0]), *output[1:]
        return torch.zeros_like(output)

    hooks = [module.register_forward_hook(silence) for module in modules]
    yield
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def encode(loaded: VideoModel, seen: VideoReport, frames: np.ndarray) -> torch.Tensor:
    """Features of a clip, `[n, f, d]`, where each token depends on its own pixels alone."""
    family = FAMILIES[loaded.model.config.model_type]
    inputs = build_inputs(loaded.processor, as_video(frames), "What?")
    with without_attention(loaded.model.base_model):
        encoded, _ = encode_video(loaded.model.base_model, family, inputs)
    features = flatten(encoded, seen.tokens_total + seen.separators)
    return features[: seen.tokens_total].view(seen.frames, seen.tokens_per_frame, -1)


def change(loaded: VideoModel, seen: VideoReport, one: np.ndarray, other: np.ndarray) -> torch.Tensor:
    """How much each token differs between two clips, `[n, f]`."""
    return (encode(loaded, seen, one) - encode(loaded, seen, other)).norm(dim=-1)


def pixels(window: tuple[float, ...], height: int, width: int, grow: int = 0) -> tuple[slice, slice]:
    """Rows and columns of a frame."""
    top, left, bottom, right = window
    return (
        slice(max(0, round(top * height) - grow), min(height, round(bottom * height) + grow)),
        slice(max(0, round(left * width) - grow), min(width, round(right * width) + grow)),
    )


def rectangle(seen: VideoReport, row: int, column: int) -> tuple[float, ...]:
    """Where pictures show a token, in shares of the frame."""
    return token_box(seen, seen.leading + row * seen.grid[1] + column, 1, 1)


def all_white_but(frames: np.ndarray, where: tuple[slice, slice]) -> np.ndarray:
    white = np.full_like(frames, 255)
    white[:, *where] = frames[:, *where]
    return white


@pytest.mark.parametrize("shape", SHAPES)
@of(*EXACT, *UNCOVERED, ODD, PADDED, PLLAVA)
def test_its_rectangle_lights_a_token_and_the_rest_of_the_frame_does_not(loaded, shape):
    """Another token in each frame: the corners and the middle, by turns."""
    size = SHAPES[shape]
    frames = dark(loaded, *size)
    seen = look(loaded, frames)
    rows, columns = seen.grid
    assert seen.leading + rows * columns == seen.tokens_per_frame
    corners = ((0, 0), (rows - 1, columns - 1), (0, columns - 1), (rows - 1, 0))
    cells = list(islice(cycle([*corners, (rows // 2, columns // 2)]), seen.frames))
    lit, surrounded = frames.copy(), frames.copy()
    for t, cell in enumerate(cells):
        held = slice(t * seen.source_frames, (t + 1) * seen.source_frames)
        where = rectangle(seen, *cell)
        lit[held, *pixels(where, *size)] = 255
        surrounded[held] = all_white_but(frames[held], pixels(where, *size, grow=SMEAR))
    by_light, by_surroundings = (change(loaded, seen, shown, frames) for shown in (lit, surrounded))
    place = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"), dim=-1)
    for t, cell in enumerate(cells):
        distance = (place - torch.tensor(cell)).abs().amax(-1).flatten()
        leading, tokens = by_light[t].split([seen.leading, rows * columns])
        own = float(tokens[distance == 0])
        assert tokens[distance == 1].max() < own / 2
        assert leading.tolist() == [0] * seen.leading
        assert (tokens[distance > 1] < 1e-4 * own).all()
        around = by_surroundings[t, seen.leading :]
        assert around[distance == 0] < 1e-2 * own
        assert (around[distance > 1] > 0).any()


@of(*EXACT, PLLAVA)
def test_a_frame_of_the_clip_lights_the_frame_that_holds_it(loaded):
    frames = dark(loaded, 120, 160)
    seen = look(loaded, frames)
    family = loaded.model.config.model_type
    two_at_once = FAMILIES[family].layout.__name__ == "grid" and family != "video_llama_3"
    assert seen.source_frames == (2 if two_at_once else 1)
    for number in (0, 3, len(frames) - 1):
        lit = frames.copy()
        lit[number] = 255
        changed = change(loaded, seen, lit, frames).amax(1) > 0
        assert changed.nonzero().flatten().tolist() == [number // seen.source_frames]


@pytest.mark.parametrize("case", SEEN_IN_PART, ids=name)
def test_all_of_the_window_is_seen_and_nothing_else(case, request):
    """To the pixel."""
    loaded, size = find(case, request), SEEN_IN_PART[case]
    frames = dark(loaded, *size, frames=1)
    seen = look(loaded, frames)
    rows, columns = pixels(seen.window, *size)
    assert (rows.stop - rows.start, columns.stop - columns.start) != size
    assert not change(loaded, seen, all_white_but(frames, (rows, columns)), frames).any()
    for y in (rows.start, rows.stop - 1):
        lit = frames.copy()
        lit[:, y, columns] = 255
        assert change(loaded, seen, lit, frames).any()
    for x in (columns.start, columns.stop - 1):
        lit = frames.copy()
        lit[:, rows, x] = 255
        assert change(loaded, seen, lit, frames).any()


@of(*EXACT, PLLAVA)
def test_a_session_knows_the_window_unless_the_processor_crops(loaded):
    frames = clip(frames=16 if loaded.name == "pllava" else 6)
    model, processor = loaded.model, loaded.processor
    inputs = build_inputs(processor, as_video(frames), "What?")
    with sharpv.attach(model, Config(retention=0.5)) as session:
        model.generate(**inputs, max_new_tokens=1)
    (video,) = session.report.videos
    cropped = model.config.model_type in CROPPED
    assert video.window == (None if cropped else (0, 0, 1, 1))
    answered = look(loaded, frames)
    for name in ("leading", "grid", "source_frames"):
        assert getattr(video, name) == getattr(answered, name)
    report = with_windows(session.report, model, processor, inputs, [(120, 160)])
    assert report.videos[0].window == answered.window
    assert report.videos[0].kept == video.kept
    # 112 of the 149 columns to which 160 are scaled, of which 18 are cut off on the left.
    assert answered.window == ((0, 18 / 149, 1, 130 / 149) if cropped else (0, 0, 1, 1))


def test_each_clip_of_a_request_has_a_window_of_its_own():
    loaded = load("video_llava", 112)
    model, processor = loaded.model, loaded.processor
    wide = clip(frames=2)
    inputs = processor(text="<video> <video>", videos=[wide, wide.swapaxes(1, 2)], return_tensors="pt")
    with sharpv.attach(model) as session:
        model.generate(**inputs, max_new_tokens=1)
        report = session.report
        model.generate(processor.tokenizer("What?", return_tensors="pt").input_ids, max_new_tokens=1)
        assert with_windows(session.report, model, processor, {}, []) is session.report
    sizes = [(120, 160), (160, 120)]
    windows = [video.window for video in with_windows(report, model, processor, inputs, sizes).videos]
    assert windows == [(0, 18 / 149, 1, 130 / 149), (18 / 149, 0, 130 / 149, 1)]
    with pytest.raises(sharpv.InputError, match="a report of 2 videos, inputs of 2 and 1 sizes"):
        with_windows(report, model, processor, inputs, sizes[:1])
    unknown = with_windows(report, model, SimpleNamespace(), inputs, sizes)
    assert [video.window for video in unknown.videos] == [None, None]


@pytest.mark.parametrize(
    ("edge", "crop", "frame", "window"),
    [
        (336, 336, (360, 640), (0, 130 / 597, 1, 466 / 597)),
        (336, 336, (640, 360), (130 / 597, 0, 466 / 597, 1)),
        (336, 336, (480, 480), (0, 0, 1, 1)),
        (384, 336, (480, 480), (24 / 384, 24 / 384, 360 / 384, 360 / 384)),
        (224, 336, (240, 321), (-56 / 224, -18 / 299, 280 / 224, 318 / 299)),
    ],
)
def test_the_window_of_a_crop(edge, crop, frame, window):
    """From the sizes alone: the shortest edge is scaled, the other by the same factor and rounded down."""
    size, crop_size = {"shortest_edge": edge}, {"height": crop, "width": crop}
    cropping = LlavaNextVideoVideoProcessor(size=size, crop_size=crop_size)
    assert picture_window(SimpleNamespace(video_processor=cropping), *frame) == window
    whole = LlavaNextVideoVideoProcessor(size=size, do_center_crop=False)
    assert picture_window(SimpleNamespace(video_processor=whole), *frame) == (0, 0, 1, 1)


@pytest.mark.parametrize("crop", [(50, 61), (51, 60), (71, 64), (70, 85)])
def test_the_window_of_a_crop_is_what_the_processor_cuts_out(crop):
    """Pixels hold their row and column, from 1; padding holds 0."""
    height, width = 60, 71
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1]
    frame = np.stack([rows, columns, columns], axis=-1).astype(np.uint8)
    processor = LlavaNextVideoVideoProcessor(
        do_resize=False,
        do_rescale=False,
        do_normalize=False,
        crop_size=dict(zip(("height", "width"), crop, strict=True)),
    )
    picture = processor(frame[None], return_tensors="pt")["pixel_values_videos"][0, 0]
    assert picture.shape[1:] == crop
    y, x = (int(place[0]) for place in picture[0].nonzero(as_tuple=True))
    top, left = int(picture[0, y, x]) - 1 - y, int(picture[1, y, x]) - 1 - x
    expected = (top / height, left / width, (top + crop[0]) / height, (left + crop[1]) / width)
    assert picture_window(SimpleNamespace(video_processor=processor), height, width) == expected


@pytest.mark.parametrize(("family", "grid"), [("video_llava", None), ("llava_onevision", (4, 4))])
def test_pruners_are_given_the_grid_of_all_tokens_only(family, grid):
    """A frame's class token stands beside its grid: a fixed order over 8 x 8 places would leave one out."""
    asked = []

    class Asked:
        name = "asked"

        def check(self, config):
            pass

        def select(self, features, config, grid=None):
            asked.append(grid)
            return Selection(torch.ones(features.shape[:2], dtype=torch.bool))

    loaded = load(family, 112)
    ask(loaded, as_video(clip(frames=2)), "What?", Config(), max_new_tokens=1, method=Asked())
    assert asked == [grid]
