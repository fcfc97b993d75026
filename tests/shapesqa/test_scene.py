"""Scenes: the same from the same seed, disjoint between splits, within their ranges."""

from collections import Counter
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from sharpv.shapesqa import SCENE_TYPES, SPLITS, iterate, sample_scene, scene_rng
from sharpv.shapesqa import draw as draw_module
from sharpv.shapesqa.scene import DIRECTIONS, HELD_OUT, SEPARATION, quadrant


def looks(sample):
    return {(shape.colour, shape.kind) for shape in sample.scene.shapes}


def test_the_same_seed_gives_the_same_clips():
    once, again = (list(islice(iterate("train", seed=3), 20)) for _ in range(2))
    for one, other in zip(once, again, strict=True):
        assert one.name == other.name
        assert one.questions == other.questions
        assert one.scene.to_dict() == other.scene.to_dict()
        for mine, theirs in zip(one.scene.shapes, other.scene.shapes, strict=True):
            np.testing.assert_array_equal(mine.path, theirs.path)


def test_no_two_streams_share_a_clip():
    seen = set()
    for split in SPLITS:
        for seed in (0, 1, 2):
            seen |= {sample.scene.seed for sample in islice(iterate(split, seed=seed), 50)}
    assert len(seen) == len(SPLITS) * 3 * 50


def test_the_greatest_seed_and_index_have_streams_of_their_own():
    most = (1 << 32) - 1
    streams = [scene_rng("test", *pair) for pair in ((0, 0), (most, 0), (0, most), (most, most))]
    assert len({rng.integers(1 << 62) for rng in streams}) == 4


@pytest.mark.parametrize("split", SPLITS)
def test_only_the_split_of_combinations_shows_held_out_pairs(split):
    for sample in islice(iterate(split), 300):
        assert bool(looks(sample) & HELD_OUT) == (split == "combinations")


@pytest.mark.parametrize("frames", [4, 8, 32])
def test_scenes_stay_within_their_ranges(frames):
    types = set()
    for sample in islice(iterate("train", frames=frames), 150):
        scene = sample.scene
        types.add(scene.type)
        assert scene.frames == frames
        assert 2 <= len(scene.shapes) <= 5
        assert len({shape.colour for shape in scene.shapes}) == len(scene.shapes)
        assert scene.cut is None or (0 < scene.cut < frames and not any(scene.pan))
        for shape in scene.shapes:
            assert shape.path.shape == (frames, 2)
            assert ((shape.path >= 0) & (shape.path < 1)).all()
            assert 0 <= shape.first <= shape.last < frames
            assert shape.direction is None or (shape.first, shape.last) == (0, frames - 1)
        assert bool([s for s in scene.shapes if s.direction]) == (scene.motion != "static")
    assert types == set(SCENE_TYPES)


def test_shapes_are_apart_where_motion_starts_and_ends():
    for sample in islice(iterate("validation"), 100):
        for time in (0, -1):
            places = np.stack([shape.path[time] for shape in sample.scene.shapes])
            gap = np.abs(places[:, None] - places[None])
            apart = np.hypot(*np.moveaxis(np.minimum(gap, 1 - gap), -1, 0))
            assert (apart + np.eye(len(places)) >= SEPARATION).all()


def lopsided(counts: Counter[Hashable], backwards: Callable[[Any], Hashable]) -> float:
    """How far outcomes are from being as likely backwards in time: Bowker's chi-squared, in its standard
    deviations above its mean."""
    pairs = {frozenset((key, backwards(key))) for key in counts} - {frozenset((key,)) for key in counts}
    chi = sum((counts[a] - counts[b]) ** 2 / (counts[a] + counts[b]) for a, b in map(tuple, pairs))
    return (chi - len(pairs)) / np.sqrt(2 * len(pairs))


@pytest.mark.parametrize("frames", [4, 5, 8])
def test_events_are_as_likely_backwards_in_time(frames):
    def backwards(spans):
        return tuple((frames - 1 - last, frames - 1 - first) for first, last in spans)

    rng = np.random.default_rng(0)
    counts = Counter(tuple(draw_module._spans(rng, frames, 3, 1)) for _ in range(5000))
    for spans in counts:
        assert len({*spans}) == 1 or spans != backwards(spans)
    assert lopsided(counts, backwards) < 3.5


@pytest.mark.parametrize("jump", [None, 3])
def test_moves_are_as_likely_backwards_in_time(jump):
    """A cut at frame 3 of 6 is in the middle, so it is at frame 3 backwards, too."""
    opposite = dict(zip(DIRECTIONS, ("right", "left", "down", "up"), strict=True))

    def backwards(move):
        start, end, way, before, after = move
        return end, start, opposite[way], after, before

    rng, counts = np.random.default_rng(0), Counter()
    for _ in range(5000):
        path, way = draw_module._path(rng, 6, "fast", jump)
        moved = np.abs(np.diff(path, axis=0)).max(1) > 1e-9
        before, after = int(moved.argmax()), int(moved[::-1].argmax())
        counts[quadrant(path[0]), quadrant(path[-1]), way, before, after] += 1
    assert lopsided(counts, backwards) < 3.5


@pytest.mark.parametrize("scene_type", SCENE_TYPES)
@pytest.mark.parametrize("noisy", [True, False])
def test_a_scene_is_of_the_type_asked_for(scene_type, noisy):
    scene = sample_scene(scene_rng("test", 0, 0), 6, scene_type=scene_type, noisy=noisy)
    assert scene.type == scene_type
    assert bool(scene.noise) == noisy


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scene_rng("tset", 0, 0), "'tset': must be one of train"),
        (lambda: scene_rng("test", -1, 0), "must not be negative"),
        # NumPy would give the first of these the stream of seed 0, index 1.
        (lambda: scene_rng("test", 1 << 32, 0), "seed 4294967296, index 0: .* less than 2\\^32"),
        (lambda: scene_rng("test", 0, 1 << 32), "seed 0, index 4294967296: .* less than 2\\^32"),
        (lambda: next(iterate(seed=1 << 32)), "less than 2"),
        (lambda: sample_scene(scene_rng("test", 0, 0), 3), "frames 3: must be 4 to 32"),
        (lambda: sample_scene(scene_rng("test", 0, 0), 33), "frames 33"),
        (lambda: sample_scene(scene_rng("test", 0, 0), scene_type="still"), "must be one of static"),
        (lambda: next(iterate("all")), "split 'all'"),
    ],
)
def test_what_is_out_of_range_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
