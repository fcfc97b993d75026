"""What each token shows, against plain loops over the truth of the scene."""

import numpy as np
import pytest
import torch

from sharpv.shapesqa import render, sample_scene, scene_rng
from sharpv.shapesqa.scene import COLOURS, DIRECTIONS, KINDS
from training.labels import HEADS, NONE, cells, lateness, offsets, token_labels

FRAMES, SIDE = 8, 8
SCENES = [sample_scene(scene_rng("train", 1, index), FRAMES) for index in range(40)]


@pytest.fixture(scope="module")
def shown():
    return torch.cat([cells(render([scene]).owner, SIDE, 0.15) for scene in SCENES])


def quarter(point):
    return 2 * (point[1] > 0.5) + (point[0] > 0.5)


def jumps(scene, t):
    return scene.cut_moves_shapes and scene.cut == t


def steps(scene, shape, t):
    """Whether a shape has moved by itself from the frame before."""
    return t > 0 and not jumps(scene, t) and not np.allclose(shape.path[t], shape.path[t - 1], atol=1e-9)


def about_shape(scene, shape, t):
    direction = 2 + list(DIRECTIONS).index(shape.direction) if shape.direction else None
    starts = sorted(other.first for other in scene.shapes if other.first)
    fresh = t in (0, shape.first) or jumps(scene, t)
    moved = any(steps(scene, shape, s) for s in range(t + 1))
    return {
        "colour": 1 + list(COLOURS).index(shape.colour),
        "kind": 1 + KINDS.index(shape.kind),
        "place": quarter(shape.path[t]),
        "start": quarter(shape.path[shape.first]),
        "step": NONE if fresh else direction if steps(scene, shape, t) else 1,
        "motion": NONE if t == 0 else direction if moved else 1,
        "late": 1 + starts.index(shape.first) if shape.first else 0,
    }


def about_background(t):
    moves = NONE if t == 0 else 0
    return {
        "colour": 0,
        "kind": 0,
        "place": NONE,
        "start": NONE,
        "step": moves,
        "motion": moves,
        "late": NONE,
    }


def left_behind(scene, owner, t, cell):
    """Returns 1 + the colour of the shape that stood in a cell when it vanished, 0 if there was none."""
    found = 0
    for index, shape in enumerate(scene.shapes, start=1):
        swept = any(jumps(scene, s) for s in range(shape.last + 1, t + 1))
        if t > shape.last and owner[shape.last][cell] == index and not swept:
            found = 1 + list(COLOURS).index(shape.colour)
    return found


def test_every_label_follows_the_truth(shown):
    seen = {name: set() for name in HEADS}
    found = {name: values.tolist() for name, values in token_labels(SCENES, shown).items()}
    assert set(found) == set(HEADS)
    for number, (scene, owner) in enumerate(zip(SCENES, shown.flatten(2).tolist(), strict=True)):
        for t in range(FRAMES):
            about = [about_background(t), *(about_shape(scene, shape, t) for shape in scene.shapes)]
            for cell in range(SIDE * SIDE):
                wanted = about[owner[t][cell]] | {
                    "shot": int(scene.cut == t),
                    "cut": int(scene.cut is not None and t >= scene.cut),
                    "gone": left_behind(scene, owner, t, cell),
                }
                for name, label in wanted.items():
                    assert found[name][number][t][cell] == label, (name, number, t, cell)
                    seen[name].add(label)
    # Else a class might never have been looked at.
    for name, classes in HEADS.items():
        assert seen[name] - {NONE} == set(range(classes)), name


def test_only_what_is_there_is_shown(shown):
    for scene, owner in zip(SCENES, shown, strict=True):
        for index, shape in enumerate(scene.shapes, start=1):
            frames = (owner == index).flatten(1).any(1).nonzero().flatten().tolist()
            assert set(frames) <= set(range(shape.first, shape.last + 1))
    assert shown.bool().float().mean() > 0.03


def test_offsets_lead_to_the_centre_the_short_way_round(shown):
    found, far = offsets(SCENES, shown).tolist(), 0.0
    for number, (scene, owner) in enumerate(zip(SCENES, shown.flatten(2).tolist(), strict=True)):
        for t in range(FRAMES):
            for cell, index in enumerate(owner[t]):
                wanted = [0.0, 0.0]
                if index:
                    here = ((cell % SIDE + 0.5) / SIDE, (cell // SIDE + 0.5) / SIDE)
                    centre = scene.shapes[index - 1].path[t]
                    ways = [[c - h + lap for lap in (-1, 0, 1)] for c, h in zip(centre, here, strict=True)]
                    wanted = [min(way, key=abs) * SIDE for way in ways]
                assert found[number][t][cell] == pytest.approx(wanted, abs=1e-5), (number, t, cell)
                far = max(far, *map(abs, wanted))
    # A shape reaches 0.14 of the side: 1.1 cells, and half a cell to its middle.
    assert 0.5 < far < 1.7


def test_a_cell_shows_what_covers_most_of_it_and_enough():
    owner = torch.zeros(1, 1, 8, 8, dtype=torch.int64)
    owner[0, 0, :4, :4] = torch.tensor([[1, 1, 1, 1], [1, 2, 2, 2], [2, 2, 2, 0], [0, 0, 0, 0]])
    owner[0, 0, :4, 4:] = torch.tensor([[2, 2, 2, 2], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    owner[0, 0, 4:, :4] = torch.tensor([[2, 2, 2, 2], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert cells(owner, 2, 0.25).tolist() == [[[[2, 0], [2, 0]]]]


def test_the_first_and_the_last_to_appear():
    scene = next(scene for scene in SCENES if sum(shape.first > 0 for shape in scene.shapes) == 2)
    first, last = sorted((shape for shape in scene.shapes if shape.first), key=lambda shape: shape.first)
    there = next(shape for shape in scene.shapes if not shape.first)
    assert [lateness(scene, shape) for shape in (there, first, last)] == [0, 1, 2]
