"""Clips that are cut short or broken: what can be decoded is given, and the warnings say so."""

import logging

import numpy as np
import pytest

from sharpv.errors import VideoError
from sharpv.video import Sampling, read_video

GOP = {"g": "12", "keyint_min": "12", "bf": "3", "x264-params": "scenecut=0"}
FASTSTART = {"movflags": "faststart"}


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("flower.mp4", 150),
        ("car-detection.mp4", 377),
        ("asl-walk.mkv", 89),
        ("big_buck_bunny_0_30.webm", 720),
    ],
)
def test_half_a_real_clip_still_gives_all_frames_asked(videos, decode_all, caplog, name, frames):
    clip = (videos / name).read_bytes()
    with caplog.at_level(logging.WARNING):
        video = read_video(clip[: len(clip) // 2], Sampling(frames=16))
    assert len(video.frames) == 16
    assert 16 < video.total_frames < frames
    assert video.indices.tolist() == np.linspace(0, video.total_frames - 1, 16).astype(int).tolist()
    assert video.warnings == tuple(record.getMessage() for record in caplog.records)
    assert len(video.warnings) == 1
    assert f"{video.total_frames} of {frames} frames" in video.warnings[0]
    truth = decode_all(videos / name, limit=12)
    early = video.indices[video.indices < 12]
    np.testing.assert_array_equal(video.frames[: len(early)], truth[early])


# Matroska states a duration, not a count: a loss of less than half a second is within its slack.
@pytest.mark.parametrize(
    ("container", "part"),
    [("mp4", 0.5), ("mp4", 0.9), ("mp4", 0.99), ("matroska", 0.5), ("matroska", 0.7)],
)
def test_every_cut_is_noticed(encode, decode_all, container, part):
    whole = encode(120, container=container, options=GOP, muxing=FASTSTART if container == "mp4" else None)
    video = read_video(whole[: int(len(whole) * part)], Sampling.all())
    assert 0 < video.total_frames < 120
    assert len(video.frames) == video.total_frames
    assert "of 120 frames" in video.warnings[0]
    np.testing.assert_array_equal(video.frames[:12], decode_all(whole)[:12])


def test_damage_in_the_middle_is_skipped_and_told(encode, decode_all):
    whole = encode(120, options=GOP, muxing=FASTSTART)
    start = whole.index(b"mdat")
    middle = start + (len(whole) - start) // 2
    broken = whole[:middle] + bytes(1500) + whole[middle + 1500 :]
    video = read_video(broken, Sampling.all())
    assert 90 < video.total_frames < 120
    assert f"{video.total_frames} of 120 frames" in video.warnings[0]
    np.testing.assert_array_equal(video.frames[:36], decode_all(whole)[:36])


def test_a_stream_that_starts_between_keyframes(encode, decode_all):
    whole = encode(200, container="mpegts", options=GOP)
    start = len(whole) // 188 // 2 * 188
    broken = whole[start:]
    truth = decode_all(broken)
    video = read_video(broken, Sampling(frames=8))
    assert video.total_frames == len(truth)
    np.testing.assert_array_equal(video.frames, truth[video.indices])
    assert "damaged" in video.warnings[0]


def test_spliced_transport_streams(encode, decode_all, pictures):
    # At the splice the packet counter jumps, so the packet there may have lost a part.
    splice = encode(30, container="mpegts", options=GOP)
    splice += encode(pictures(30, 64, 96), container="mpegts", options=GOP)
    truth = decode_all(splice)
    video = read_video(splice, Sampling.all())
    assert video.frames.shape == (59, 48, 64, 3)
    assert "1 frames were skipped" in video.warnings[0]
    near_splice = range(26, 32)
    assert any(np.array_equal(video.frames, np.delete(truth, k, axis=0)) for k in near_splice)


def test_an_mp4_without_its_index(videos):
    clip = (videos / "bottle-detection.mp4").read_bytes()
    with pytest.raises(VideoError, match="lacks its index"):
        read_video(clip[: len(clip) // 2])


def test_nothing_decodable(encode):
    whole = encode(30, muxing=FASTSTART)
    start = whole.index(b"mdat") + 4
    with pytest.raises(VideoError, match=r"nothing in .* can be decoded"):
        read_video(whole[:start] + bytes(len(whole) - start))
    with pytest.raises(VideoError, match=r"nothing in .* can be decoded"):
        read_video(whole[: start + 10])
