"""The generator is fair, and the report would say so if it were not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sharpv.shapesqa import FAMILIES, render, sample_scene, scene_rng
from sharpv.shapesqa import dataset as dataset_module
from sharpv.shapesqa import draw as draw_module
from sharpv.shapesqa import probe as probe_module
from sharpv.shapesqa.files import write
from sharpv.shapesqa.leaks import ALLOWANCE, NEEDS, SIGMAS, WRONG_FRAME, leak_report, unfair
from sharpv.shapesqa.oneframe import HONEST, TELLING, View
from sharpv.shapesqa.probe import DESCRIPTIONS, fit, pictures
from sharpv.shapesqa.scene import DIRECTIONS
from sharpv.video import Sampling, read_video

WRITTEN = 300


@pytest.fixture(scope="module")
def report():
    return leak_report(1600, split="train", seed=5)


def named(report, family):
    return next(leaks for leaks in report.families if leaks.family == family)


def test_nothing_that_needs_watching_can_be_had_without(report):
    assert unfair(report) == ()


@pytest.mark.parametrize("frames", [4, 32])
def test_short_and_long_clips_are_fair_too(frames):
    assert unfair(leak_report(700, split="validation", frames=frames)) == ()


def test_every_family_with_options_is_looked_at(report):
    asked = {family for family, options in FAMILIES.items() if options}
    assert {leaks.family for leaks in report.families} == asked
    assert asked == set(NEEDS) == set(HONEST) == set(TELLING) == set(DESCRIPTIONS)
    for leaks in report.families:
        assert [frame.frame for frame in leaks.frames] == ["first", "middle", "last"]


def test_the_frame_that_a_question_asks_about_answers_it(report):
    first, last = named(report, "start_pos").frames[0], named(report, "end_pos").frames[-1]
    for frame in (first, last):
        assert frame.rules["quadrant"] == 1
        assert frame.probe == 1
    assert named(report, "recog").frames[0].rules["as seen"] > 0.8


def test_what_the_wrong_frame_tells_of_a_place_is_known(report):
    """Two of four quadrants are left, and a little more is told by how near their borders are."""
    for frame in (named(report, "start_pos").frames[-1], named(report, "end_pos").frames[0]):
        assert 0.5 < max(*frame.rules.values(), frame.probe) < WRONG_FRAME


def test_what_one_frame_tells_of_a_direction_is_known(report):
    """That shapes are kept apart in the first and last frame makes ways onto another shape less likely."""
    for frame in named(report, "direction").frames:
        assert 0.2 < max(*frame.rules.values(), frame.probe) < 0.33


def test_counting_frames_tells_no_more_than_which_two_shapes_an_event_concerns(report):
    for leaks in report.families:
        assert (leaks.bag is not None) == (leaks.family in ("order", "vanish"))
        if leaks.bag:
            assert leaks.bag.chance == 0.5
            assert abs(leaks.bag.counts - 0.5) < 3.5 * np.sqrt(0.25 / leaks.n)


def test_the_report_of_the_held_out_pairs_knows_that_they_were_chosen():
    report = leak_report(600, split="combinations")
    assert named(report, "recog").blind > 0.3
    assert unfair(report) == ()


def test_a_start_that_depends_on_the_direction_is_caught(monkeypatch):
    fair = draw_module._path

    def from_the_other_side(rng, frames, motion, jump):
        path, way = fair(rng, frames, motion, jump)
        if way:
            shift = np.array(DIRECTIONS[way]) * (0.25 * rng.random() + 0.05)
            path = np.where(DIRECTIONS[way], path - path[0] + 0.5 - shift, path) % 1.0
        return path, way

    monkeypatch.setattr(draw_module, "_path", from_the_other_side)
    found = unfair(leak_report(500))
    assert any(line.startswith("direction") and "first frame" in line for line in found)
    assert any("probe" in line for line in found)


def test_a_place_that_follows_from_the_wrong_frame_is_caught(monkeypatch):
    monkeypatch.setattr(draw_module, "DIRECTIONS", {"up": (0, -1), "down": (0, 1)})
    found = unfair(leak_report(500))
    for family, frame in (("start_pos", "last"), ("end_pos", "first")):
        lines = [line for line in found if line.startswith(f"{family}: ")]
        assert any(f"from the {frame} frame (quadrant), where" in line for line in lines)
        assert all(f"from the {frame}" in line and "0.700 is fair" in line for line in lines)


def test_a_place_that_tells_the_first_from_the_last_is_caught(monkeypatch):
    """The two lie alike around the centre: who looks for both in one place finds neither."""
    fair = dataset_module.sample_scene

    def from_corner_to_corner(rng, frames, **settings):
        scene = fair(rng, frames, **settings)
        late = sorted((shape for shape in scene.shapes if shape.first), key=lambda shape: shape.first)
        for half, shape in enumerate(late if len(late) == 2 else ()):
            shape.path[:] = 0.2 + 0.1 * shape.path + 0.5 * half
        return scene

    monkeypatch.setattr(dataset_module, "sample_scene", from_corner_to_corner)
    found = unfair(leak_report(700))
    assert any(line.startswith("order") and "middle frame (probe)" in line for line in found)


def test_events_that_counting_frames_answers_are_caught(monkeypatch):
    def one_way(rng, frames, count, movers):
        """Two appear and stay until the end, or one vanishes alone."""
        spans = [(0, frames - 1)] * count
        still = rng.permutation(np.arange(movers, count))
        if len(still) > 1 and rng.random() < 0.5:
            starts = np.sort(rng.choice(np.arange(1, frames), 2, replace=False)).tolist()
            for shape, start in zip(still[:2], starts, strict=True):
                spans[shape] = (start, frames - 1)
        elif len(still):
            spans[still[0]] = (0, int(rng.integers(1, frames)) - 1)
        return spans

    monkeypatch.setattr(draw_module, "_spans", one_way)
    found = unfair(leak_report(500))
    for family in ("order", "vanish"):
        assert any(line.startswith(f"{family}: 1.000 right from the frames without") for line in found)


def test_movers_that_are_drawn_first_are_caught(monkeypatch):
    fair = dataset_module.sample_scene

    def movers_first(rng, frames, **settings):
        scene = fair(rng, frames, **settings)
        return replace(scene, shapes=tuple(sorted(scene.shapes, key=lambda shape: shape.direction is None)))

    monkeypatch.setattr(dataset_module, "sample_scene", movers_first)
    found = unfair(leak_report(500))
    assert any(line.startswith("moving_colour") for line in found)
    assert any(line.startswith("moving_shape") for line in found)


def test_backgrounds_that_give_a_cut_away_are_caught(monkeypatch):
    def darker_after_a_cut(scenes, size):
        drawn = render(scenes, size)
        for scene, clip in zip(scenes, drawn.frames, strict=True):
            if scene.cut:
                clip[scene.cut :] //= 2
        return drawn

    monkeypatch.setattr(probe_module, "render", darker_after_a_cut)
    found = unfair(leak_report(500))
    assert any("pixels" in line for line in found)


def test_the_pixels_of_a_written_clip_do_not_give_a_cut_away(tmp_path):
    """The middle frame as a user gets it, shapes and codec included. Its 300 clips take 7 s."""
    records = [record for record in write(tmp_path, WRITTEN, seed=3) if record.family == "scene_change"]
    clips = np.stack([read_video(record.video, Sampling.all()).frames for record in records])
    middle = torch.from_numpy(clips[:, 4]).permute(0, 3, 1, 2)
    answers = np.array([record.options.index(record.answer) for record in records])
    cuts = torch.tensor([record.truth["cut"] or 8 for record in records])
    learn = np.arange(WRITTEN) % 2 == 0

    def right(frames):
        described = pictures(frames)
        found = np.where(learn, *(fit(described, answers, fold) for fold in (~learn, learn)))
        return (found == answers).mean()

    most = 0.5 + ALLOWANCE + SIGMAS * np.sqrt(0.25 / WRITTEN)
    assert right(middle) < most
    darker = torch.where((cuts <= 4)[:, None, None, None], middle // 4, middle)
    assert right(darker) > most


def test_answers_that_are_not_balanced_are_caught(monkeypatch):
    monkeypatch.setattr(draw_module, "DIRECTIONS", {"up": (0, -1), "left": (-1, 0)})
    found = unfair(leak_report(500))
    assert any(line.startswith("direction") and "blind" in line for line in found)


def test_too_few_clips_prove_nothing():
    with pytest.raises(ValueError, match="use more"):
        leak_report(1)
    with pytest.raises(ValueError, match="prove nothing"):
        unfair(leak_report(150))


def test_the_probe_learns_what_there_is_and_no_more():
    rng = np.random.default_rng(0)
    options = rng.normal(size=(600, 4, 6))
    known = (options[:, :, 2] * 9 + rng.normal(size=(600, 4))).argmax(1)
    train = np.arange(600) % 2 == 0
    assert (fit(options, known, train) == known)[~train].mean() > 0.9
    guessed = rng.integers(4, size=600)
    assert (fit(options, guessed, train) == guessed)[~train].mean() < 0.35


def test_room_counts_the_ways_that_end_apart_from_others():
    scene = sample_scene(scene_rng("test", 0, 0), scene_type="static")
    still = [replace(shape, first=0, last=7) for shape in scene.shapes[:2]]
    for shape, place in zip(still, ((0.2, 0.5), (0.45, 0.5)), strict=True):
        shape.path[:] = place
    room = View(replace(scene, shapes=tuple(still)), 0).room
    left, right, up, down = room[0]
    # Slow to the right ends at 0.38 to 0.52, all within 0.15 of the other; fast at 0.65 to 0.88, beyond it.
    assert right.tolist() == [0, 1]
    assert up.tolist() == down.tolist() == [1, 1]
    # Fast to the left goes around the torus to 0.52 to 0.75, of which half is beyond 0.6.
    assert left.tolist() == [1, 0.5]
