"""What a server fetches for a stranger: real connections, on loopback, where nothing is public."""

import asyncio
import http.server
import socket
import threading

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed: run `make test-vllm`")

from vllm.connections import HTTPConnection
from vllm.exceptions import VLLMClientError
from vllm.multimodal.media.base import MediaIO

from sharpv.engines.vllm import media


class Bytes(MediaIO):
    """Decodes nothing, unless it is told to fail."""

    def load_bytes(self, data):
        if data == b"broken":
            raise OSError("no such format")
        return data

    def load_base64(self, media_type, data):
        return data

    def load_file(self, filepath):
        return filepath.read_bytes()


@pytest.fixture
def site():
    """A site on loopback, as its port and the paths that it was asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status = int(self.path[1:4])
            body = b"broken" if "broken" in self.path else b"secret"
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", "/200")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    monkeypatch.setenv("VLLM_MEDIA_FETCH_MAX_RETRIES", "1")
    monkeypatch.setenv("VLLM_MEDIA_URL_ALLOW_REDIRECTS", "0")


def fetch(url, connector=media.PublicMedia, **settings):
    media._public_connection.cache_clear()

    async def fetched():
        made = connector(connection=HTTPConnection(), **settings)
        try:
            return await made.load_from_url_async(url, Bytes(), fetch_timeout=5)
        finally:
            await (await made.connection.get_async_client()).close()

    return asyncio.run(fetched())


def refused(url, *args, **settings):
    with pytest.raises(VLLMClientError) as caught:
        fetch(url, *args, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("fec0::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:808:808::1", False),
    ],
)
def test_what_is_public(address, public):
    assert media.is_public(address) is public


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "localhost.:{port}",
        "[::1]:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "[64:ff9b::7f00:1]:{port}",
        "8.8.8.8@127.0.0.1:{port}",
        "127.0.0.1:{port}\\@8.8.8.8",
        "127.0.0.1:{port}#@8.8.8.8",
        "0:{port}",
        "2130706433:{port}",
        "0x7f.1:{port}",
        "127\u30020.0.1:{port}",
        "\u2460\u2461\u2466.0.0.1:{port}",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https", "HTTP"])
def test_no_way_to_write_an_address_reaches_one_that_is_not_public(site, scheme, host):
    port, asked = site
    assert refused(f"{scheme}://{host.format(port=port)}/200")
    assert not asked


def test_the_refusal_says_what_to_do_and_not_where_the_name_leads(site):
    port, _ = site
    message = refused(f"http://localhost:{port}/200")
    assert "is not public: send the data, or have the server started with --allow-private-media" in message
    assert "127.0.0.1" not in message


def test_a_name_that_turns_private_after_it_was_looked_up_is_refused(site, monkeypatch):
    port, asked = site
    # A name server that says one thing first and another then is one that says the other.
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def lookup(*_, **__):
        return found

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lookup)
    assert "is not public" in refused(f"http://example.org:{port}/200")
    assert not asked


def test_a_proxy_is_not_asked_to_go_there_instead(site, monkeypatch):
    port, asked = site
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    refused("http://127.0.0.1:9/200")
    assert not asked


def test_a_name_that_does_not_resolve_cannot_be_fetched():
    assert "cannot fetch" in refused("http://nowhere.invalid/clip.mp4")


def test_what_a_redirect_says_is_no_media(site, monkeypatch):
    monkeypatch.setattr(media, "is_public", lambda _: True)
    port, asked = site
    assert "sends on to another (HTTP 302)" in refused(f"http://127.0.0.1:{port}/302")
    assert asked == ["/302"]
    assert fetch(f"http://127.0.0.1:{port}/200") == b"secret"


@pytest.mark.parametrize(
    "url", ["http://a:99999/", "http://[::1", "http://a:b/", "http://[1:2]/", " file:///etc/passwd"]
)
def test_what_is_no_url_is_said_to_be_none(url):
    assert "is no URL" in refused(url)


@pytest.mark.parametrize("url", ["ftp://a/b", "clip.mp4", "gopher://127.0.0.1:9/"])
def test_other_schemes_are_refused(url):
    assert "give an http, https or data URL" in refused(url)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "FILE:///etc/hostname"])
def test_files_are_refused_unless_vllm_is_told_their_folder(url, tmp_path):
    assert "reads no files of its own" in refused(url)
    (tmp_path / "clip").write_bytes(b"clip")
    allowed = {"allowed_local_media_path": str(tmp_path)}
    assert fetch(f"file://{tmp_path}/clip", **allowed) == b"clip"
    assert "cannot read" in refused(url, **allowed)


def test_who_allows_any_address_is_told_fetching_from_decoding(site):
    port, _ = site
    address = f"http://127.0.0.1:{port}"
    assert fetch(f"{address}/200", media.AnyMedia) == b"secret"
    assert "cannot read the media" in refused(f"{address}/200broken", media.AnyMedia)
    unreachable = refused(f"{address}/503", media.AnyMedia)
    assert "cannot fetch" in unreachable
    assert "common format" not in unreachable
    assert "404" in refused(f"{address}/404", media.AnyMedia)
