"""Hostile media leave the server up, and its memory where it was."""

import gzip
import io
import socket
import time
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from sharpv.server.limits import Limits
from sharpv.tiny.clip import moving_square
from sharpv.video import read_video, write_video
from tests.server.running import (
    FRAMES,
    chat_body,
    data_url,
    image,
    picture_bytes,
    send,
    user,
    video,
    wait_for,
)

GROWTH_BYTES = 64 << 20
"""What the server's process may grow by: the frames of a request and the heap's slack."""


def resident_bytes():
    """Returns the memory that this process, in which the servers run, has in RAM."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.fixture
def steady(server, clip):
    """The server must answer after a test as before it, and not have grown."""
    expected = server.ask(video(data_url(clip))).choices[0].message.content
    before = resident_bytes()
    yield server
    assert server.ask(video(data_url(clip))).choices[0].message.content == expected
    assert resident_bytes() - before < GROWTH_BYTES


def written(path, frames, height, width, fps=30, **options):
    write_video(moving_square(frames=frames, height=height, width=width), path, fps=fps, **options)
    return path


def test_ten_thousand_frames(steady, tmp_path):
    found = steady.ask(video(data_url(written(tmp_path / "long.mp4", 10_000, 16, 16))))
    assert found.sharpv["videos"][0]["frames"] == FRAMES


def raw(frames, height, width):
    """Returns a clip in a codec that takes any size; `write_video` makes the sides even."""
    file = io.BytesIO()
    with av.open(file, "w", format="nut") as container:
        stream = container.add_stream("rawvideo", rate=4)
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24"
        for i in range(frames):
            pixels = np.full((height, width, 3), 50 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 600), (600, 1)])
def test_a_clip_one_pixel_high_or_wide(steady, height, width):
    content = raw(3, height, width)
    assert read_video(content).frames.shape == (3, height, width, 3)
    assert steady.ask(video(data_url(content))).sharpv["videos"][0]["frames"] == 3


def test_one_pixel(steady):
    dot = picture_bytes(np.zeros((1, 1, 3), dtype=np.uint8), "JPEG")
    assert steady.ask(image(data_url(dot))).usage.prompt_tokens > 0


def test_a_clip_cut_short_is_refused_or_says_so(steady, clip):
    content = clip.read_bytes()
    for share in (0.1, 0.5, 0.99):
        status, body = steady.post(
            chat_body(
                messages=[user(video(data_url(content[: int(share * len(content))])))],
                max_tokens=1,
                sharpv={"frames": 2},
            )
        )
        assert status == 400 or b"cut short" in body or b"damaged" in body


def test_bytes_that_are_changed_at_random(steady, clip):
    rng = np.random.default_rng(0)
    for _ in range(4):
        content = np.frombuffer(clip.read_bytes(), dtype=np.uint8).copy()
        content[rng.integers(0, len(content), 40)] = rng.integers(0, 256, 40)
        body = chat_body(messages=[user(video(data_url(content.tobytes())))], max_tokens=1)
        assert steady.post(body)[0] in (200, 400)


def test_a_picture_of_a_few_bytes_and_a_billion_pixels(steady):
    bomb = picture_bytes(np.zeros((32_000, 32_000), dtype=bool))
    assert len(bomb) < 1 << 20
    for part in (image(data_url(bomb)), video(data_url(bomb, "video/jpeg"))):
        status, reason = steady.refuse(part)
        assert status == 400
        assert "pixels" in reason
    assert steady.refuse(video(data_url(bomb)))[0] == 400


def test_archives_are_not_unpacked(steady, clip):
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("clip.mp4", clip.read_bytes() + bytes(64 << 20))
    for bomb in (zipped.getvalue(), gzip.compress(clip.read_bytes() + bytes(64 << 20))):
        assert len(bomb) < 1 << 20
        for part in (video(data_url(bomb)), image(data_url(bomb))):
            assert steady.refuse(part)[0] == 400


def test_a_clip_whose_frames_weigh_a_thousand_times_its_bytes(start, tmp_path):
    """Within the limit of one picture, beyond that of all."""
    path = written(tmp_path / "still.mp4", 64, 1080, 1920)
    strict = start(Limits(total_pixels=40 * 1080 * 1920))
    assert 1000 * path.stat().st_size < 64 * 1080 * 1920 * 3
    status, reason = strict.refuse(video(data_url(path)), sharpv={"frames": 64})
    assert (status, "total_pixels" in reason) == (400, True)
    assert strict.ask().usage.prompt_tokens > 0


def test_a_clip_of_large_frames(steady, tmp_path):
    path = written(tmp_path / "large.mp4", 2, 4096, 4096)
    status, reason = steady.refuse(video(data_url(path)))
    assert status == 400
    assert "4096 x 4096" in reason


@pytest.mark.parametrize("name", ["clip.jpg", "clip.txt", "clip", "../../clip.m3u8", "clip.mp4.exe"])
def test_a_clip_is_what_it_holds_and_not_what_it_is_called(steady, clip, name):
    expected = steady.ask(video(data_url(clip))).choices[0].message.content
    stored = steady.client.files.create(file=(name, clip.read_bytes(), "text/plain"), purpose="user_data")
    part = {"type": "file", "file": {"file_id": stored.id}}
    assert steady.ask(part).choices[0].message.content == expected
    assert steady.ask(video(data_url(clip, "image/png"))).choices[0].message.content == expected
    text = steady.client.files.create(file=("clip.mp4", b"no clip " * 100), purpose="user_data")
    assert steady.refuse({"type": "file", "file": {"file_id": text.id}})[0] == 400


def test_wrong_kinds(steady, clip):
    assert steady.refuse(image(data_url(clip)))[0] == 400
    assert steady.refuse(video(data_url(Path(__file__))))[0] == 400
    # A picture is a video of one frame, whatever it is called.
    picture = picture_bytes(np.zeros((8, 8, 3), dtype=np.uint8))
    assert steady.ask(video(data_url(picture))).sharpv["videos"][0]["frames"] == 1


@pytest.fixture
def silent():
    """The URL of a host that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/clip.mp4"


def test_media_that_never_come_are_not_waited_for(start, silent):
    hasty = start(Limits(media_seconds=0.3), allow_private=True)
    status, reason = hasty.refuse(video(silent))
    assert status == 408
    assert "media_seconds" in reason


def test_by_default_nothing_is_fetched_from_inside(start, silent):
    status, reason = start().refuse(video(silent))
    assert status == 400
    assert "127.0.0.1 is not public" in reason


def test_who_leaves_while_media_come_leaves_nothing_behind(server, silent):
    body = chat_body(messages=[user(video(silent))])
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        wait_for(lambda: server.metrics()["sharpv_queue"] == 1)
    wait_for(lambda: server.metrics()["sharpv_queue"] == 0)
    assert server.metrics()['sharpv_requests_total{path="/v1/chat/completions",status="499"}'] >= 1


def test_clients_that_say_nothing_are_in_nobodys_way(server):
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for client in idle[::2]:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\n")
    time.sleep(0.05)
    assert send(f"{server.url}/health")[0] == 200
    assert server.ask().usage.prompt_tokens > 0
    for client in idle:
        client.close()
