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


@pytest.mark.parametrize("crf", [-1, 52])
def test_bad_crf_is_refused(tmp_path, crf):
    with pytest.raises(ValueError, match="crf"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "x.mp4", crf=crf)


@pytest.mark.parametrize(
    "frames",
    [np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((0, 8, 8, 3), np.uint8)],
    ids=["float", "3-D", "empty"],
)
def test_bad_frames_are_refused(tmp_path, frames):
    with pytest.raises(ValueError, match="uint8"):
        write_video(frames, tmp_path / "x.mp4")


@pytest.mark.parametrize("fps", [0, -1, float("nan")])
def test_bad_fps_is_refused(tmp_path, fps):
    with pytest.raises(ValueError, match="fps"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "x.mp4", fps=fps)


def test_an_unwritable_path(tmp_path):
    with pytest.raises(VideoError, match="cannot write"):
        write_video(np.zeros((1, 8, 8, 3), np.uint8), tmp_path / "no folder" / "x.mp4")
