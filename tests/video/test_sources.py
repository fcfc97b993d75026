"""Where a clip may come from, and the errors that name what is wrong with it."""

import base64
import http.server
import io
import os
import socket
import threading
from pathlib import Path

import av
import numpy as np
import pytest

from sharpv.errors import VideoError
from sharpv.video import Sampling, read_video, source


@pytest.fixture(scope="module")
def clip(encode) -> bytes:
    return encode(20)


@pytest.fixture(scope="module")
def server(clip):
    """Serves /clip.mp4, /short (a broken connection), and redirects; no byte ranges."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/to"):
                self.send_response(302)
                target = {"/to-clip": "/clip.mp4", "/to-file": "file:///etc/passwd", "/to-ftp": "ftp://x/y"}
                self.send_header("Location", target[self.path])
                self.end_headers()
            elif self.path.split("?")[0] in ("/clip.mp4", "/short"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(clip)))
                self.end_headers()
                self.wfile.write(clip if "clip" in self.path else clip[:1000])
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def refused(source, match, **arguments):
    with pytest.raises(VideoError, match=match) as caught:
        read_video(source, **arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_kind_of_source_gives_the_same_frames(clip, tmp_path, server):
    path = tmp_path / "clip.mp4"
    path.write_bytes(clip)
    expected = read_video(path).frames
    assert len(expected) == 20
    mime = "data:video/mp4;base64,"
    sources = [
        str(path),
        clip,
        bytearray(clip),
        io.BytesIO(clip),
        mime + base64.b64encode(clip).decode(),
        f"{server}/clip.mp4?signature=secret",
        f"{server}/to-clip",
    ]
    for given in sources:
        np.testing.assert_array_equal(read_video(given).frames, expected)


def test_a_file_object_is_read_from_its_start_and_left_open(clip):
    file = io.BytesIO(clip)
    file.seek(0, io.SEEK_END)
    assert read_video(file).total_frames == 20
    assert not file.closed
    assert read_video(file).total_frames == 20


def test_a_pipe_is_read(clip):
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: Path(f"/dev/fd/{writing}").write_bytes(clip))
    with os.fdopen(reading, "rb") as file:
        thread.start()
        thread.join()
        os.close(writing)
        assert read_video(file).total_frames == 20


def test_missing_directory_and_empty(tmp_path):
    refused(tmp_path / "no.mp4", "no such file")
    refused(str(tmp_path), "directory")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "empty")
    refused(b"", "empty")


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes.nfo"])
def test_text_is_no_video(tmp_path, name):
    path = tmp_path / name
    path.write_text("this is no video\n" * 500)
    refused(path, "not a video file")


def test_audio_only(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(path, "no video stream, only audio")


@pytest.mark.parametrize(
    "url", ["data:video/mp4,abc", "data:video/mp4;base64", "data:video/mp4;base64,@@@", "data:;base64,abc"]
)
def test_bad_data_urls(url):
    refused(url, "bad data: URL")


def test_bad_urls(server):
    refused(f"{server}/nothing", "404")
    refused("rtsp://user:secret@host/x", "not supported")
    refused(f"{server}/short", "connection ended|more expected")
    refused(f"{server}/to-file", "cannot fetch")
    refused(f"{server}/to-ftp", "cannot fetch")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        message = refused(f"http://u:secret@127.0.0.1:{unused.getsockname()[1]}/x?key=secret", "cannot fetch")
    assert "secret" not in message


def test_a_silent_server_times_out(monkeypatch):
    monkeypatch.setattr(source, "URL_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        refused(f"http://127.0.0.1:{listener.getsockname()[1]}/x", "timed out")


def test_a_download_is_bounded(server, monkeypatch):
    monkeypatch.setattr(source, "URL_MAX_BYTES", 1000)
    refused(f"{server}/clip.mp4", "larger than 1000 bytes")


@pytest.mark.parametrize("given", [None, 5, ["clip.mp4"], io.StringIO("text")])
def test_unknown_sources(given):
    refused(given, "cannot read a video from")


def test_a_closed_file():
    file = io.BytesIO(b"x")
    file.close()
    refused(file, "closed")


@pytest.mark.parametrize("form", ["hls", "concat"])
def test_a_playlist_opens_no_other_file(clip, encode, tmp_path, monkeypatch, form):
    # FFmpeg would follow both of these when left to itself.
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.mp4").write_bytes(clip)
    texts = {
        "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile other.mp4\n",
    }
    path = tmp_path / ("playlist.m3u8" if form == "hls" else "playlist")
    path.write_text(texts[form])
    with av.open(path) as container:
        assert container.format.name == form
    refused(path, "playlist")
    refused(path.read_bytes(), "playlist")


def test_nothing_is_written_to_stderr(clip, capfd):
    read_video(clip[: len(clip) // 2] + clip[len(clip) // 2 :], Sampling(frames=2))
    refused(b"x" * 1000, "not a video file")
    assert capfd.readouterr() == ("", "")
