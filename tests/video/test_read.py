"""Frames, counts and times equal those of a full decode in order, whatever the container and codec."""

import io
import struct

import av
import numpy as np
import pytest

from sharpv.errors import VideoError
from sharpv.video import Sampling, decode, index, read, read_video
from sharpv.video.rgb import SMOOTH_COLOURS

GOP = {"g": "12", "keyint_min": "12", "bf": "3", "x264-params": "scenecut=0"}
SAMPLINGS = [Sampling(), Sampling(frames=3), Sampling(fps=2.0), Sampling.all()]


def assert_same(video, truth):
    assert video.total_frames == len(truth)
    assert video.frames.dtype == np.uint8
    np.testing.assert_array_equal(video.frames, truth[video.indices])


def test_real_clips_equal_a_full_decode(real_clip):
    path, count = real_clip
    samplings = [Sampling(frames=9), Sampling(frames=4), Sampling(fps=0.2)]
    videos = [read_video(path, sampling) for sampling in samplings]
    wanted = set(np.concatenate([video.indices for video in videos]).tolist())
    with av.open(path) as container:
        container.streams.video[0].thread_type = "AUTO"
        frames = enumerate(container.decode(video=0))
        how = {"format": "rgb24", "interpolation": SMOOTH_COLOURS}
        truth = {i: frame.to_ndarray(**how) for i, frame in frames if i in wanted}
    for video in videos:
        assert video.total_frames == count
        assert video.warnings == ()
        for picture, i in zip(video.frames, video.indices, strict=True):
            np.testing.assert_array_equal(picture, truth[i])


def test_real_clips_need_no_decode_to_be_counted(real_clip, monkeypatch):
    monkeypatch.setattr(read, "_read_in_order", lambda *_: pytest.fail("decoded in order"))
    path, count = real_clip
    assert read_video(path, Sampling(frames=1)).total_frames == count


def test_rates_and_lengths_of_real_clips(videos):
    webm = read_video(videos / "big_buck_bunny_0_30.webm", Sampling(frames=2))
    assert webm.fps == pytest.approx(24, abs=0.01)
    assert webm.duration == pytest.approx(30, abs=0.05)
    assert webm.timestamps == pytest.approx([0, 719 / 24], abs=2e-3)
    bottle = read_video(videos / "bottle-detection.mp4", Sampling(frames=2))
    assert bottle.fps == pytest.approx(29.83, abs=0.01)


def test_several_video_streams(videos, decode_all):
    clip = videos / "nasa_13013.mp4"
    assert read_video(clip, Sampling(frames=2)).frames.shape == (2, 180, 320, 3)
    second = read_video(clip, Sampling(frames=9), stream=1)
    assert second.frames.shape == (9, 270, 480, 3)
    assert_same(second, decode_all(clip, stream=1))


@pytest.mark.parametrize("stream", [2, -1, True, "0"])
def test_stream_out_of_range_says_how_many_there_are(videos, stream):
    with pytest.raises(VideoError, match="has 2 video streams"):
        read_video(videos / "nasa_13013.mp4", stream=stream)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts", "flv", "avi", "h264"])
def test_b_frames_in_every_container(encode, decode_all, container):
    clip = encode(container=container, options=GOP)
    truth = decode_all(clip)
    assert len(truth) == 120
    for sampling in SAMPLINGS:
        video = read_video(clip, sampling)
        assert_same(video, truth)
        assert video.timestamps == pytest.approx(video.indices / 25, abs=1e-3)
        assert video.duration == pytest.approx(4.8, abs=0.01)
        assert video.warnings == ()


@pytest.mark.parametrize(
    "x264",
    [
        "keyint=12:min-keyint=12:bframes=3:open-gop=1:scenecut=0:b-pyramid=normal",
        "keyint=24:intra-refresh=1:bframes=0",
        "keyint=12:interlaced=1:bframes=2",
    ],
    ids=["open-gop", "intra-refresh", "interlaced"],
)
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_keyframes_that_are_no_clean_start(encode, decode_all, x264, container):
    clip = encode(container=container, options={"x264-params": x264})
    truth = decode_all(clip)
    for sampling in SAMPLINGS:
        assert_same(read_video(clip, sampling), truth)


@pytest.mark.parametrize(
    ("codec", "container", "options"),
    [
        ("libx264", "mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("mpeg4", "avi", {}),
        ("mpeg2video", "mpegts", {}),
        ("mpeg2video", "mpeg", {}),
        ("libvpx-vp9", "webm", {}),
    ],
)
def test_other_codecs(encode, decode_all, codec, container, options):
    speed = {"cpu-used": "8", "deadline": "realtime"} if "vpx" in codec else {"bf": "2"}
    clip = encode(60, codec, container, options={"g": "12"} | speed, muxing=options)
    truth = decode_all(clip)
    for sampling in SAMPLINGS:
        assert_same(read_video(clip, sampling), truth)


def with_hidden_frames(clip: bytes, before: range) -> bytes:
    """The VP8 clip with a hidden frame before each of these: a copy whose show_frame bit is 0 (RFC 6386)."""
    file = io.BytesIO()
    with av.open(io.BytesIO(clip)) as source, av.open(file, "w", format="webm") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            data = bytearray(packet)
            if number in before:
                data[0] &= ~0x10
                hidden = av.Packet(bytes(data))
                hidden.pts = hidden.dts = packet.pts - 1
                hidden.time_base, hidden.stream = packet.time_base, stream
                out.mux(hidden)
            packet.stream = stream
            out.mux(packet)
    return file.getvalue()


def test_hidden_vp8_frames_are_not_counted(encode, decode_all, monkeypatch):
    monkeypatch.setattr(read, "_read_in_order", lambda *_: pytest.fail("decoded in order"))
    speed = {"g": "30", "cpu-used": "8", "deadline": "realtime"}
    clip = with_hidden_frames(encode(90, "libvpx", "webm", options=speed), range(5, 90, 10))
    with av.open(io.BytesIO(clip)) as container:
        assert sum(p.size > 0 for p in container.demux(video=0)) == 99
    truth = decode_all(clip)
    assert len(truth) == 90
    for sampling in SAMPLINGS:
        assert_same(read_video(clip, sampling), truth)


def test_a_count_that_the_decoder_contradicts_is_not_believed(encode, decode_all, monkeypatch):
    # Stands for every codec whose packets are not one frame each in a way that the index does not know. The
    # odd packet lies in the middle GOP only, so that decoding never runs out of frames.
    monkeypatch.setattr(index, "_hidden_vp8", lambda _: False)
    speed = {"g": "40", "keyint_min": "40", "cpu-used": "8", "deadline": "realtime"}
    clip = with_hidden_frames(encode(120, "libvpx", "webm", options=speed), range(45, 46))
    assert_same(read_video(clip, Sampling(frames=3)), decode_all(clip))


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_variable_frame_rate(encode, decode_all, container):
    gaps = np.random.default_rng(1).integers(10, 300, 79)
    times = np.concatenate([[0], np.cumsum(gaps)])
    clip = encode(80, container=container, options=GOP, times=times.tolist())
    video = read_video(clip, Sampling(fps=3.0))
    assert_same(video, decode_all(clip))
    assert video.timestamps == pytest.approx(times[video.indices] / 1000, abs=2e-3)
    assert video.fps == pytest.approx(79 / (times[-1] / 1000), rel=1e-2)
    for tick in np.arange(0, times[-1], 1000 / 3):
        assert np.flatnonzero(times <= tick + 1)[-1] in video.indices


def test_only_what_is_needed_is_decoded(encode, monkeypatch):
    clip = encode(240, options=GOP)
    decoded = []
    original = decode._frames_from

    def counting(*arguments):
        for frame in original(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(decode, "_frames_from", counting)
    video = read_video(clip, Sampling(frames=4))
    assert video.total_frames == 240
    assert len(decoded) <= 4 * 12


def test_a_short_clip_gives_each_frame_once(encode):
    video = read_video(encode(5), Sampling(frames=32))
    assert video.indices.tolist() == [0, 1, 2, 3, 4]


def test_a_single_frame(encode):
    video = read_video(encode(1), Sampling(frames=32))
    assert video.indices.tolist() == [0]
    assert video.timestamps.tolist() == [0.0]


def display_matrix(clip: bytes, a: int, b: int, c: int, d: int) -> bytes:
    """The clip with this rotation in its track header (ISO 14496-12: matrix 44 bytes after the box type)."""
    at = clip.index(b"tkhd") + 44
    matrix = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return clip[:at] + matrix + clip[at + 36 :]


@pytest.mark.parametrize(
    ("matrix", "quarter_turns"),
    [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1), ((1, 0, 0, 1), 0)],
    ids=["clockwise", "upside down", "counterclockwise", "none"],
)
def test_rotation_metadata_is_applied(encode, decode_all, matrix, quarter_turns):
    plain = encode(10)
    turned = display_matrix(plain, *matrix)
    video = read_video(turned, Sampling.all())
    np.testing.assert_array_equal(video.frames, np.rot90(decode_all(plain), quarter_turns, axes=(1, 2)))
    small, upright = (read_video(clip, Sampling.all(), max_side=20).frames for clip in (turned, plain))
    np.testing.assert_array_equal(small, np.rot90(upright, quarter_turns, axes=(1, 2)))


def edit_list(clip: bytes, start_frame: int, frames: int) -> bytes:
    """The clip with an edit list that shows only these frames, at 25 fps (time scales: 1000 and 12800)."""
    at = clip.index(b"elst") + 12
    first_pts = struct.unpack(">i", clip[at + 4 : at + 8])[0]
    return clip[:at] + struct.pack(">Ii", frames * 40, first_pts + start_frame * 512) + clip[at + 8 :]


@pytest.mark.parametrize(("start", "frames"), [(7, 50), (30, 60), (12, 108)])
def test_edit_lists_hide_frames(encode, decode_all, start, frames):
    plain = encode(120, options=GOP)
    clip = edit_list(plain, start, frames)
    truth = decode_all(clip)
    np.testing.assert_array_equal(truth, decode_all(plain)[start : start + frames])
    for sampling in SAMPLINGS:
        video = read_video(clip, sampling)
        assert_same(video, truth)
        assert video.warnings == ()


@pytest.mark.parametrize("size", [(3, 5), (5, 3), (1, 1), (17, 33)])
def test_odd_sizes(encode, pictures, size):
    frames = pictures(6, *size)
    video = read_video(encode(frames, "ffv1", "matroska", "bgr0"))
    np.testing.assert_array_equal(video.frames, frames)


@pytest.mark.parametrize("pix_fmt", ["gray", "gray16le", "yuva420p", "yuv444p", "yuv420p10le", "rgb48le"])
def test_pixel_formats(encode, decode_all, pix_fmt):
    clip = encode(6, "ffv1", "matroska", pix_fmt)
    assert_same(read_video(clip), decode_all(clip))


def test_a_size_change_keeps_the_first_size(encode, decode_all, pictures):
    clip = encode(30, container="h264", options=GOP)
    clip += encode(pictures(30, 64, 96), container="h264", options=GOP)
    truth = decode_all(clip)
    assert truth.shape == (60, 48, 64, 3)
    for sampling in SAMPLINGS:
        assert_same(read_video(clip, sampling), truth)
