import weakref

import av
import numpy as np
import pytest

from sharpv.errors import VideoError
from sharpv.video import Sampling, read_video, write_video


@pytest.mark.parametrize("fps", [1, 12.5, 30000 / 1001])
def test_what_is_written_is_read_back(tmp_path, fps):
    shades = np.linspace(0, 255, 20).astype(np.uint8)
    frames = np.broadcast_to(shades[:, None, None, None], (20, 32, 48, 3))
    write_video(frames, tmp_path / "clip.mp4", fps=fps)
    video = read_video(tmp_path / "clip.mp4", Sampling.all())
    assert video.fps == pytest.approx(fps)
    assert video.duration == pytest.approx(20 / fps)
    assert video.frames.shape == frames.shape
    # H.264 at its default quality, in limited range: flat pictures survive to a few levels.
    assert np.abs(video.frames.astype(int) - frames).max() <= 4


def test_odd_sizes_are_padded_to_even(tmp_path, pictures):
    frames = pictures(4, 33, 47)
    write_video(frames, tmp_path / "odd.mp4", fps=10)
    read = read_video(tmp_path / "odd.mp4").frames
    assert read.shape == (4, 34, 48, 3)
    brightness = read @ (0.299, 0.587, 0.114)
    assert np.abs(brightness[:, -1] - brightness[:, -2]).mean() < 3


def test_colours_are_read_back_without_stairs(tmp_path):
    """4:2:0 halves the resolution of colours; repeated over four pixels, this ramp would be off by 5."""
    ramp = np.arange(64, dtype=np.uint8) * 3
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[..., 0], frames[..., 2] = ramp, ramp[:, None]
    write_video(frames, tmp_path / "ramp.mp4", crf=0)
    read = read_video(tmp_path / "ramp.mp4").frames.astype(int)
    assert np.abs(read - frames)[:, 4:-4, 4:-4].max() <= 3


def test_frames_are_written_as_they_come(tmp_path, pictures):
    alive, most = [], 0

    def coming():
        nonlocal most
        for picture in pictures(40):
            frame = picture.copy()
            alive.append(weakref.ref(frame))
            most = max(most, sum(held() is not None for held in alive))
            yield frame

    write_video(coming(), tmp_path / "clip.mp4", crf=0)
    write_video(pictures(40), tmp_path / "whole.mp4", crf=0)
    found, whole = (read_video(tmp_path / f"{name}.mp4", Sampling.all()) for name in ("clip", "whole"))
    np.testing.assert_array_equal(found.frames, whole.frames)
    assert most <= 3


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this FFmpeg has no libx264")
def test_players_are_told_which_colours_they_get(tmp_path, pictures):
    write_video(pictures(3), tmp_path / "clip.mp4")
    with av.open(tmp_path / "clip.mp4") as container:
        codec = container.streams.video[0].codec_context
        assert (codec.name, codec.pix_fmt) == ("h264", "yuv420p")
        # Limited range, BT.601: what the pixels are, by `test_colours_are_read_back_without_stairs`. Chromium
        # believes it only where primaries and transfer are told, too.
        assert (codec.color_range, codec.colorspace) == (1, 5)
        assert (codec.color_primaries, codec.color_trc) == (1, 1)


def test_the_index_stands_before_the_frames(tmp_path, pictures):
    write_video(pictures(3), tmp_path / "clip.mp4")
    written = (tmp_path / "clip.mp4").read_bytes()
    assert 0 < written.index(b"moov") < written.index(b"mdat")


def test_a_comment_is_read_back(tmp_path, pictures):
    for comment in ("ShapesQA \N{MIDDLE DOT} 7", None):
        write_video(pictures(3), tmp_path / "clip.mp4", comment=comment)
        assert read_video(tmp_path / "clip.mp4").comment == comment


def test_a_lower_crf_is_better_and_larger(tmp_path, pictures):
    frames, errors, sizes = pictures(6), [], []
    for crf in (40, 23, 10):
        write_video(frames, tmp_path / "clip.mp4", crf=crf)
        sizes.append((tmp_path / "clip.mp4").stat().st_size)
        errors.append(np.abs(read_video(tmp_path / "clip.mp4").frames.astype(int) - frames).mean())
    assert errors == sorted(errors, reverse=True)
    assert sizes == sorted(sizes)
    write_video(frames, tmp_path / "default.mp4")
    # x264 may differ by a few bytes from run to run.
    assert (tmp_path / "default.mp4").stat().st_size == pytest.approx(sizes[1], rel=0.01)


@pytest.mark.skipif("libx264" not in av.codecs_available, reason="this FFmpeg has no libx264")
def test_a_preset_changes_how_it_is_written(tmp_path, pictures):
    written = {}
    for preset in ("ultrafast", "medium", None):
        write_video(pictures(6), tmp_path / "clip.mp4", preset=preset)
        written[preset] = (tmp_path / "clip.mp4").stat().st_size
    assert written["medium"] == pytest.approx(written[None], rel=0.01)
    assert written["ultrafast"] != pytest.approx(written[None], rel=0.05)


@pytest.mark.parametrize("wrong", [{"crf": -1}, {"crf": 52}, {"preset": "swift"}], ids=str)
def test_bad_crf_or_preset_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}=.*: must be"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "x.mp4", **wrong)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
    ids=["float", "3-D", "empty"],
)
def test_bad_frames_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8"):
        write_video(frames, tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("later", "error", "message"),
    [
        (
            np.zeros((8, 10, 3), np.uint8),
            ValueError,
            r"frame 2 has shape \(8, 10, 3\), and the first \(8, 8, 3\)",
        ),
        (np.zeros((8, 8, 3)), ValueError, "frame 2: float64 of shape"),
        (None, KeyError, "from the caller"),
    ],
    ids=["size", "float", "an error of the frames"],
)
@pytest.mark.parametrize("before", [True, False], ids=["a file is there", "no file"])
def test_after_an_error_all_is_as_before(tmp_path, later, error, message, before):
    def coming():
        yield from np.zeros((2, 8, 8, 3), np.uint8)
        if later is None:
            raise KeyError("from the caller")
        yield later

    if before:
        (tmp_path / "x.mp4").write_bytes(b"old")
    with pytest.raises(error, match=message):
        write_video(coming(), tmp_path / "x.mp4")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([b"old"] if before else [])


def test_a_link_still_leads_to_the_file(tmp_path):
    (tmp_path / "link.mp4").symlink_to(tmp_path / "clip.mp4")
    write_video(np.zeros((2, 8, 8, 3), np.uint8), tmp_path / "link.mp4")
    assert (tmp_path / "link.mp4").is_symlink()
    assert read_video(tmp_path / "clip.mp4").total_frames == 2


def test_frames_are_shown_when_they_are_to_be(tmp_path, pictures):
    times = [3.0, 3.1, 4.0, 4.0, 7.25]
    write_video(pictures(5), tmp_path / "clip.mp4", timestamps=times)
    found = read_video(tmp_path / "clip.mp4", Sampling.all())
    # Of two frames at one time, the second comes as soon as it can.
    assert found.timestamps == pytest.approx([0, 0.1, 1.0, 1.0, 4.25], abs=1e-4)
    with pytest.raises(ValueError, match="got 4 timestamps and more frames"):
        write_video(pictures(5), tmp_path / "clip.mp4", timestamps=times[:4])


def test_what_is_refused_before_a_frame_is_written_touches_nothing(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"old")
    with pytest.raises(ValueError, match="got no frames"):
        write_video(iter([]), tmp_path / "x.mp4")
    with pytest.raises(ValueError, match="frame 0: float64"):
        write_video(np.zeros((2, 8, 8, 3)), tmp_path / "x.mp4")
    assert (tmp_path / "x.mp4").read_bytes() == b"old"
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    with pytest.raises(VideoError, match="cannot write"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), folder)
    assert folder.is_dir()


@pytest.mark.parametrize("fps", [0, -1, float("nan"), 1e-4, 1e12])
def test_bad_fps_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="fps"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "x.mp4", fps=fps)


def test_an_unwritable_path(tmp_path):
    with pytest.raises(VideoError, match="cannot write"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "no folder" / "x.mp4")
