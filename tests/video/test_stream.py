"""All frames of a clip in turn are those that `read_video` gives at once, and none is held."""

import io
import weakref

import numpy as np
import pytest

from sharpv.errors import VideoError
from sharpv.video import Sampling, read_video, stream_video

GOP = {"g": "12", "keyint_min": "12", "bf": "3", "x264-params": "scenecut=0"}


def assert_same(source, **how):
    whole = read_video(source, Sampling.all(), **how)
    with stream_video(source, **how) as clip:
        frames = list(clip.frames)
        assert len(frames) == len(clip.timestamps) == whole.total_frames
        np.testing.assert_array_equal(clip.timestamps, whole.timestamps)
        assert clip.fps == whole.fps
    np.testing.assert_array_equal(np.stack(frames), whole.frames)


@pytest.mark.parametrize("container", ["mp4", "matroska", "h264"])
@pytest.mark.parametrize("max_side", [None, 40])
def test_the_frames_and_times_are_those_of_the_clip(encode, container, max_side):
    assert_same(encode(30, container=container, options=GOP), max_side=max_side)


def test_uneven_times(encode):
    assert_same(encode(5, times=[0, 40, 300, 1000, 1010]))


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_damaged_clip_gives_what_can_be_decoded(encode, part):
    whole = encode(60, options=GOP, muxing={"movflags": "faststart"})
    start = whole.index(b"mdat")
    middle = start + (len(whole) - start) // 2
    assert_same(whole[: int(len(whole) * part)])
    assert_same(whole[:middle] + bytes(1500) + whole[middle + 1500 :])


def test_every_frame_of_a_real_clip(real_clip):
    path, count = real_clip
    sampled = read_video(path, Sampling(frames=5), max_side=64)
    with stream_video(path, max_side=64) as clip:
        wanted = set(sampled.indices.tolist())
        found = [frame for number, frame in enumerate(clip.frames) if number in wanted]
        assert len(clip.timestamps) == sampled.total_frames == count
        np.testing.assert_array_equal(clip.timestamps[sampled.indices], sampled.timestamps)
    np.testing.assert_array_equal(np.stack(found), sampled.frames)


def test_another_stream(videos):
    with stream_video(videos / "nasa_13013.mp4", stream=1) as clip:
        assert next(clip.frames).shape == (270, 480, 3)


def test_frames_come_one_at_a_time(encode):
    alive, most = [], 0
    with stream_video(encode(40)) as clip:
        for frame in clip.frames:
            alive.append(weakref.ref(frame))
            most = max(most, sum(held() is not None for held in alive))
    assert len(alive) == 40
    assert most <= 2


def test_the_caller_s_file_stays_open(encode):
    file = io.BytesIO(encode(4))
    with stream_video(file) as clip:
        assert len(list(clip.frames)) == 4
    assert not file.closed


def test_what_cannot_be_read(encode, tmp_path):
    with pytest.raises(VideoError, match="no such file"), stream_video(tmp_path / "none.mp4"):
        pass
    with pytest.raises(VideoError, match="stream=1"), stream_video(encode(4), stream=1):
        pass
    with pytest.raises(ValueError, match="max_side"), stream_video(encode(4), max_side=0):
        pass
