"""Which rectangle of the clip's frames a mark of the report stands for: each is found by lighting it."""

from typing import Any

import numpy as np
import pytest

from sharpv.hf.ask import VideoModel, ask
from sharpv.hf.reuse.supported import REUSABLE
from sharpv.report import VideoReport
from tests.hf.conftest import Config
from tests.hf.test_geometry import ODD, PADDED, UNCOVERED, as_video, find, load, name

CASES = [*((family, 112) for family in sorted(REUSABLE)), ODD, PADDED]
CASES += [case for case in UNCOVERED if case[0] in REUSABLE]
SHAPES = {"landscape": (240, 320), "portrait": (320, 240)}
EDGE = 0.25
"""Share of a patch at each of its edges that is left dark: resampling smooths them."""


@pytest.fixture
def loaded(request) -> VideoModel:
    return find(request.param, request)


def of(*cases: Any) -> Any:
    return pytest.mark.parametrize("loaded", cases, indirect=True, ids=name)


def size_of(loaded: VideoModel, shape: str) -> tuple[int, int]:
    """Frames larger than the picture that is made of them."""
    height, width = SHAPES[shape]
    return (2 * height, 2 * width) if loaded is load(*ODD) else (height, width)


def look(loaded: VideoModel, frames: np.ndarray) -> VideoReport:
    config = Config(vision_reuse="balanced", retention=1.0, memory_threshold=None)
    return ask(loaded, as_video(frames), "What?", config, max_new_tokens=1).report.videos[0]


def inner(seen: VideoReport, cell: tuple[int, int], height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a frame in the middle of a patch, by the report alone."""
    (rows, columns), (top, left, bottom, right) = seen.reuse.grid, seen.window
    (row, column), sides = cell, []
    for start, end, parts, place, pixels in (
        (top, bottom, rows, row, height),
        (left, right, columns, column, width),
    ):
        edges = [(start + (end - start) * (place + share) / parts) * pixels for share in (EDGE, 1 - EDGE)]
        first, last = round(max(edges[0], 0)), round(min(edges[1], pixels))
        assert first < last
        sides.append(slice(first, last))
    return sides[0], sides[1]


def on_frame(seen: VideoReport) -> list[tuple[int, int]]:
    """Corners of what the frame has of the patches, and one in the middle."""
    (rows, columns), (top, left, bottom, right) = seen.reuse.grid, seen.window
    ends = []
    for start, end, parts in ((top, bottom, rows), (left, right, columns)):
        side = (end - start) / parts
        whole = [i for i in range(parts) if start + i * side > -1e-9 and start + (i + 1) * side < 1 + 1e-9]
        ends.append((whole[0], whole[-1]))
    (first, last), (west, east) = ends
    return [(first, west), (last, east), (first, east), (last, west), (rows // 2, columns // 3)]


@pytest.mark.parametrize("shape", SHAPES)
@of(*CASES)
def test_a_patch_that_is_lit_is_encoded_and_no_other(loaded, shape):
    """A new one in each frame of the LLM, but for the last; where a frame holds two, in one of them."""
    height, width = size_of(loaded, shape)
    still = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype=np.uint8).repeat(12, 0)
    seen = look(loaded, still)
    each = seen.source_frames
    patches = seen.reuse.grid[0] * seen.reuse.grid[1]
    assert [sum(frame) for frame in seen.reuse.computed] == [patches] + [0] * (seen.frames - 1)
    cells = on_frame(seen)[: seen.frames - 2]
    lit = still.copy()
    for t, cell in enumerate(cells, 1):
        lit[t * each + t % each, *inner(seen, cell, height, width)] = 255
    found = look(loaded, lit)
    assert (found.reuse.grid, found.window) == (seen.reuse.grid, seen.window)
    marks = np.array(found.reuse.computed).reshape(seen.frames, *seen.reuse.grid)
    assert [np.argwhere(frame).tolist() for frame in marks[1:]] == [
        [list(cells[t])] if t < len(cells) else [] for t in range(seen.frames - 1)
    ]


@of(("llava_onevision", 384), ("llava_next_video", 112), ("internvl", 112), ("qwen2_5_vl", 112))
def test_patches_need_not_be_tokens(loaded):
    seen = look(loaded, np.zeros((4, 240, 320, 3), np.uint8))
    grids = {
        "llava_onevision": ((27, 27), (14, 14)),
        "llava_next_video": ((8, 8), (4, 4)),
        "internvl": ((8, 8), (4, 4)),
    }
    wanted = grids.get(loaded.name, (seen.grid, seen.grid))
    assert (seen.reuse.grid, seen.grid) == wanted


@of(("llava_onevision", 112), ("llava_next_video", 112), ("internvl", 112), ("qwen2_5_vl", 112))
def test_a_cut_costs_a_full_frame(loaded):
    rng = np.random.default_rng(0)
    scenes = [rng.integers(0, 256, (1, 240, 320, 3), dtype=np.uint8).repeat(6, 0) for _ in range(2)]
    seen = look(loaded, np.concatenate(scenes))
    cut = 6 // seen.source_frames
    assert [t for t, frame in enumerate(seen.reuse.computed) if any(frame)] == [0, cut]
    assert all(seen.reuse.computed[cut])
