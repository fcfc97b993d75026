"""What is drawn is what the scene says."""

import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from sharpv.shapesqa import iterate, render, render_clip, sample_scene, scene_rng
from sharpv.shapesqa.scene import COLOURS, KINDS
from tests.shapesqa.twin import centroid, torus_gap


def scenes(n, **settings):
    return [sample_scene(scene_rng("validation", 0, i), 8, **settings) for i in range(n)]


def background(scene):
    return render_clip(replace(scene, shapes=(), noise=0.0)).astype(int)


def test_shapes_are_drawn_where_and_when_the_truth_says(samples, drawn):
    for sample, (_, alone) in zip(samples, drawn, strict=True):
        for shape, pixels in zip(sample.scene.shapes, alone, strict=True):
            for time in range(sample.scene.frames):
                assert pixels[time].any() == (shape.first <= time <= shape.last)
                if pixels[time].any():
                    # Which pixels are more than half covered shifts a small shape's centroid a little.
                    assert torus_gap(centroid(pixels[time]), shape.path[time]) < 0.6 / 64


def test_every_shape_shows_when_it_comes_and_goes_though_others_pass(samples):
    for sample in samples:
        owner = render([sample.scene]).owner[0]
        for index, shape in enumerate(sample.scene.shapes):
            seen = torch.nonzero((owner == index + 1).flatten(1).any(1)).flatten().tolist()
            assert (seen[0], seen[-1]) == (shape.first, shape.last)


def test_shapes_have_their_colour(samples):
    for sample in samples[:20]:
        for shape in sample.scene.shapes:
            alone = render([replace(sample.scene, shapes=(shape,), noise=0.0)])
            pixels = alone.frames[0].permute(0, 2, 3, 1)[alone.owner[0] == 1].float()
            assert (pixels.median(0).values - torch.tensor(COLOURS[shape.colour])).abs().max() <= 1


@pytest.mark.parametrize(
    ("kind", "area"),
    [
        ("circle", math.pi),
        ("square", 1.76**2),
        ("triangle", 3 * math.sqrt(3) * 0.55**2),
        ("cross", 4 * 0.72 - 0.72**2),
        ("ring", math.pi * 0.75),
    ],
)
def test_shapes_have_their_kind(kind, area):
    scene = scenes(1, scene_type="static")[0]
    shape = replace(scene.shapes[0], kind=kind, radius=0.12, first=0, last=7)
    owner = render([replace(scene, shapes=(shape,))], 224).owner[0, 0]
    # An edge along the pixels shifts by up to half a pixel on either side: 1 of 47 in both directions.
    assert int(owner.sum()) == pytest.approx(area * (0.12 * 224) ** 2, rel=0.06)


def test_the_areas_cover_every_kind():
    assert set(KINDS) == {"circle", "square", "triangle", "cross", "ring"}


def test_without_noise_what_stays_is_the_same_in_every_frame():
    for scene in scenes(10, scene_type="static", noisy=False):
        still = replace(scene, shapes=tuple(replace(s, first=0, last=7) for s in scene.shapes))
        clip = render_clip(still)
        assert (clip == clip[:1]).all()


def test_noise_is_as_strong_as_the_truth_says():
    scene = replace(scenes(1, scene_type="static")[0], shapes=(), noise=0.02)
    difference = np.diff(render_clip(scene).astype(float) / 255, axis=0)
    assert difference.std() == pytest.approx(0.02 * math.sqrt(2), rel=0.05)


def test_a_cut_changes_the_background_at_its_frame_and_nowhere_else():
    for scene in scenes(20, scene_type="cut"):
        change = np.abs(np.diff(background(scene), axis=0)).mean((1, 2, 3))
        assert np.flatnonzero(change).tolist() == [scene.cut - 1]
        assert change.max() > 8


def test_a_cut_moves_the_shapes_only_where_the_truth_says():
    found = set()
    for scene in scenes(40, scene_type="cut"):
        found.add(scene.cut_moves_shapes)
        for shape in scene.shapes:
            if shape.direction is None:
                jump = torus_gap(shape.path[scene.cut - 1], shape.path[scene.cut])
                assert (jump > 0) == scene.cut_moves_shapes
    assert found == {True, False}


def test_a_pan_moves_the_background_only():
    for scene in scenes(10, scene_type="pan"):
        clip = background(scene)
        steps = np.abs(np.diff(clip, axis=0)).mean((1, 2, 3))
        assert (steps > 0).sum() >= 4
        # The background goes around the torus, so nothing is lost or gained on the way.
        assert np.abs(clip.mean((1, 2)) - clip[0].mean((0, 1))).max() < 1e-9
        for shape in scene.shapes:
            assert shape.direction or (shape.path == shape.path[0]).all()


def test_a_clip_does_not_depend_on_its_batch():
    several = [sample.scene for sample in islice(iterate("test"), 5)]
    together = render(several)
    for scene, frames, owner in zip(several, *together, strict=True):
        alone = render([scene])
        assert torch.equal(alone.frames[0], frames)
        assert torch.equal(alone.owner[0], owner)


@pytest.mark.parametrize("size", [16, 17, 33, 64, 99, 224])
def test_any_size_shows_the_same_scene(size):
    scene = next(iterate("test", seed=2)).scene
    owner = render([scene], size).owner[0]
    assert owner.shape == (8, size, size)
    for index, shape in enumerate(scene.shapes):
        pixels = render([replace(scene, shapes=(shape,))], size).owner[0, shape.first].numpy() == 1
        assert torus_gap(centroid(pixels), shape.path[shape.first]) < 0.75 / size
        assert (owner == index + 1).any()


@pytest.mark.parametrize("frames", [4, 5, 32])
def test_any_length(frames):
    clip = render_clip(next(iterate("test", frames=frames)).scene, 32)
    assert clip.shape == (frames, 32, 32, 3)
    assert clip.dtype == np.uint8


def test_what_cannot_be_drawn_is_named():
    short, long = (next(iterate("test", frames=n)).scene for n in (4, 8))
    with pytest.raises(ValueError, match=r"\[4, 8\] frames"):
        render([short, long])
    with pytest.raises(ValueError, match="at least one"):
        render([])
    with pytest.raises(ValueError, match="size 15: must be at least 16"):
        render([short], 15)
