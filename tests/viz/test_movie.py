"""The clip as an mp4, read back: every frame at its time, with the tokens that are its own."""

import weakref
from functools import partial

import av
import numpy as np
import pytest

from sharpv.errors import InputError, VideoError
from sharpv.video import Sampling, read_video, write_video
from sharpv.viz import movie, write_all_frames, write_sampled
from tests.viz.records import WHOLE, record, report

# Light enough for a dropped token (0.45 of it) and a line (240) to be told from it, after H.264.
GREY = 180
DIMMED = int(0.45 * GREY)
THREE = record("#.....", ".....#", "..#...", grid=(2, 3), window=WHOLE)


def shown(picture):
    """Returns which of the 2 x 3 tokens of a grey frame are bright in their middle, drawn as for `record`."""
    height, width = picture.shape[:2]
    middles = [
        picture[height * (1 + 2 * row) // 4, width * (1 + 2 * column) // 6].mean()
        for row in range(2)
        for column in range(3)
    ]
    for middle in middles:
        assert min(abs(middle - GREY), abs(middle - DIMMED)) < 6
    return "".join("#" if abs(middle - GREY) < 6 else "." for middle in middles)


def grey(frames, height=240, width=480):
    return np.full((frames, height, width, 3), GREY, dtype=np.uint8)


def read(path):
    return read_video(path, Sampling.all())


def test_the_sampled_frames_with_their_tokens(tmp_path):
    write_sampled(grey(3), [0, 0.1, 0.2], report(THREE), tmp_path / "a.mp4")
    video = read(tmp_path / "a.mp4")
    assert video.frames.shape == (3, 240, 480, 3)
    assert [shown(picture) for picture in video.frames] == ["#.....", ".....#", "..#..."]
    assert video.fps == pytest.approx(10)


@pytest.mark.parametrize(
    ("times", "fps"),
    [([0, 0.04, 0.08], 25), ([3, 5, 7], 4), ([0, 0, 0], 4), ([0, 0.1, 0.3], 20 / 3)],
    ids=["as the clip", "no slide show", "no time", "uneven"],
)
def test_sampled_frames_follow_each_other_as_in_the_clip(tmp_path, times, fps):
    write_sampled(grey(3, 120, 320), times, report(THREE), tmp_path / "a.mp4")
    assert read(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-3)


def test_a_single_frame(tmp_path):
    write_sampled(grey(1), [0.0], report(record("#.....", grid=(2, 3), window=WHOLE)), tmp_path / "a.mp4")
    (picture,) = read(tmp_path / "a.mp4").frames
    assert shown(picture) == "#....."


@pytest.fixture
def clip(tmp_path):
    write_video(grey(20), tmp_path / "clip.mp4", fps=10)
    return tmp_path / "clip.mp4"


def test_all_frames_with_the_tokens_of_the_last_sampled_one(clip, tmp_path):
    write_all_frames(clip, [0.3, 0.9, 1.5], report(THREE), tmp_path / "a.mp4")
    video = read(tmp_path / "a.mp4")
    assert [shown(picture) for picture in video.frames] == 9 * ["#....."] + 6 * [".....#"] + 5 * ["..#..."]
    assert video.fps == pytest.approx(10)


def test_frames_that_are_one_to_the_llm(clip, tmp_path):
    two = record("#.....", ".....#", grid=(2, 3), window=WHOLE, source_frames=2)
    write_sampled(grey(3), [0.3, 0.9, 1.5], report(two), tmp_path / "sampled.mp4")
    write_all_frames(clip, [0.3, 0.9, 1.5], report(two), tmp_path / "all.mp4")
    found = [[shown(p) for p in read(tmp_path / f"{name}.mp4").frames] for name in ("sampled", "all")]
    assert found == [2 * ["#....."] + [".....#"], 15 * ["#....."] + 5 * [".....#"]]


def test_the_caption_stands_in_the_corner(tmp_path):
    every = record("######", "######", grid=(2, 3), window=WHOLE)
    write_sampled(grey(2), [0, 1], report(every), tmp_path / "a.mp4")
    first, second = read(tmp_path / "a.mp4").frames.astype(int)
    dark = (first < 0.5 * GREY).all(axis=2)
    rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
    assert (rows[0], columns[0]) == (0, 0)
    assert rows[-1] < 60
    assert columns[-1] < 200
    corner = (slice(rows[-1]), slice(columns[-1]))
    assert first[corner].max() > 240
    # "frame 1, 0.00 s" and "frame 2, 1.00 s" differ; outside, nothing was drawn.
    assert np.abs(first - second)[corner].max() > 100
    assert np.abs(np.delete(first, range(rows[-1] + 4), axis=0) - GREY).max() < 6


@pytest.mark.parametrize(
    ("size", "scaled"), [((90, 160), (180, 320)), ((30, 1920), (16, 960)), ((240, 480), (240, 480))]
)
def test_frames_get_a_size_that_can_be_read(tmp_path, size, scaled):
    frames = grey(3, *size)
    write_video(frames, tmp_path / "clip.mp4", fps=10)
    write_sampled(frames, [0, 0.1, 0.2], report(THREE), tmp_path / "sampled.mp4")
    write_all_frames(tmp_path / "clip.mp4", [0, 0.1, 0.2], report(THREE), tmp_path / "all.mp4")
    for name in ("sampled", "all"):
        assert read(tmp_path / f"{name}.mp4").frames.shape == (3, *scaled, 3)


@pytest.mark.parametrize("name", ["asl-walk.mkv", "nasa_13013.mp4"])
def test_every_frame_of_a_real_clip(videos, tmp_path, name):
    clip = read_video(videos / name, Sampling(frames=4))
    half = record(*4 * [16 * "#" + 16 * "."], grid=(4, 8), window=WHOLE)
    write_all_frames(videos / name, clip.timestamps, report(half), tmp_path / "a.mp4")
    assert read_video(tmp_path / "a.mp4", Sampling(frames=1)).total_frames == clip.total_frames
    found = read_video(tmp_path / "a.mp4", Sampling(frames=4))
    assert found.indices.tolist() == clip.indices.tolist()
    assert found.timestamps == pytest.approx(clip.timestamps, abs=1e-3)
    middle, corner = clip.frames.shape[1] // 2, clip.frames.shape[2] // 2
    for picture, frame in zip(found.frames.astype(int), clip.frames.astype(int), strict=True):
        # Right of the caption the upper half is the clip's; the lower is grey, and 0.45 as bright.
        assert np.abs(picture - frame)[: middle - 2, corner:].mean() < 4
        dropped = picture[middle + 4 :]
        assert (dropped.max(axis=2) - dropped.min(axis=2)).mean() < 1
        brightness = frame[middle + 4 :] @ (0.299, 0.587, 0.114)
        assert np.abs(dropped.mean(axis=2) - 0.45 * brightness).mean() < 3


@pytest.mark.parametrize("every", [False, True], ids=["sampled", "all"])
def test_frames_are_drawn_one_at_a_time(tmp_path, monkeypatch, every):
    write_video(grey(60, 120, 320), tmp_path / "clip.mp4", fps=30)
    read_frames, drawn_frames, most = [], [], 0
    paint, write = movie.paint, movie.write_video

    def painting(frame, *arguments):
        read_frames.append(weakref.ref(frame))
        return paint(frame, *arguments)

    def watching(frames):
        nonlocal most
        for frame in frames:
            drawn_frames.append(weakref.ref(frame))
            alive = [sum(held() is not None for held in each) for each in (read_frames, drawn_frames)]
            most = max(most, *alive)
            yield frame

    monkeypatch.setattr(movie, "paint", painting)
    monkeypatch.setattr(movie, "write_video", lambda frames, *a, **k: write(watching(frames), *a, **k))
    times = np.arange(60) / 30
    sixty = report(record(*60 * ["#....."], grid=(2, 3), window=WHOLE))
    if every:
        write_all_frames(tmp_path / "clip.mp4", times, sixty, tmp_path / "a.mp4")
    else:
        write_sampled(grey(60, 120, 320), times, sixty, tmp_path / "a.mp4")
    assert len(drawn_frames) == len(read_frames) == 60
    assert most <= 3


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this FFmpeg has no libx264")
def test_browsers_can_play_it(tmp_path):
    write_sampled(grey(3), [0, 0.1, 0.2], report(THREE), tmp_path / "a.mp4")
    with av.open(tmp_path / "a.mp4") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")


def test_a_film_of_all_frames_keeps_the_times_of_the_clip(tmp_path):
    times = [0.0, 0.5, 1.5, 1.6, 4.0]
    write_video(grey(5), tmp_path / "clip.mp4", timestamps=times)
    write_all_frames(tmp_path / "clip.mp4", [0.0, 0.5, 1.6], report(THREE), tmp_path / "a.mp4")
    found = read_video(tmp_path / "a.mp4", Sampling.all())
    assert found.timestamps == pytest.approx(times, abs=1e-4)


def test_the_clip_itself_is_not_written_over(tmp_path, clip):
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    for path in (clip, tmp_path / "link.mp4"):
        with pytest.raises(InputError, match="it is the clip, which would be gone"):
            write_all_frames(clip, [0, 0.1, 0.2], report(THREE), path)
    assert clip.read_bytes() == before


def test_what_does_not_fit_leaves_no_file(tmp_path, clip):
    sampled, every = partial(write_sampled, grey(3)), partial(write_all_frames, clip)
    times, fits, out = [0, 0.1, 0.2], report(THREE), tmp_path / "a.mp4"
    bare = report(record("#.....", ".....#", "..#..."))
    for write in (sampled, every):
        with pytest.raises(InputError, match="give grid="):
            write(times, bare, out)
        with pytest.raises(InputError, match="give window="):
            write(times, bare, out, grid=(2, 3))
        with pytest.raises(InputError, match="got video=1"):
            write(times, fits, out, video=1)
    with pytest.raises(InputError, match="got 2 timestamps of 3 frames"):
        sampled(times[:2], fits, out)
    with pytest.raises(InputError, match="got 2 frames, but the report is of 3"):
        every(times[:2], fits, out)
    with pytest.raises(VideoError, match="no such file"):
        write_all_frames(tmp_path / "none.mp4", times, fits, out)
    assert not out.exists()
