"""Servers on loopback, in this process, and what they are sent."""

import base64
import http.server
import io
import json
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest
import uvicorn
from PIL import Image

from sharpv.server.app import create_app
from sharpv.server.limits import Limits
from sharpv.server.media import Access
from sharpv.server.service import Service, Settings
from sharpv.video import Sampling

NAME = "tiny"
QUESTION = "What moves?"
FRAMES = 6
PATIENCE_S = 120


class Running:
    """A server of a model, from the start of a thread to `stop()`."""

    def __init__(self, loaded, limits=None, key=None, **access):
        self.limits = limits or Limits()
        access = Access(limits=self.limits, **access)
        self.service = Service(loaded, NAME, Settings(access=access, sampling=Sampling(frames=FRAMES)))
        self.app = create_app(self.service, key)
        config = uvicorn.Config(
            self.app,
            host="127.0.0.1",
            port=0,
            lifespan="on",
            log_level="warning",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        wait_for(lambda: self._server.started)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=key or "none", max_retries=0, timeout=PATIENCE_S
        )

    def stop(self):
        self.client.close()
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def ask(self, *parts, text=QUESTION, sharpv=None, **options):
        """Asks with the OpenAI package."""
        return self.client.chat.completions.create(
            model=NAME,
            messages=[user(*parts, text=text)],
            extra_body=None if sharpv is None else {"sharpv": sharpv},
            **{"max_tokens": 4, **options},
        )

    def refuse(self, *parts, **options):
        """Asks what must be refused; returns the status and the reason."""
        with pytest.raises(openai.APIStatusError) as refused:
            self.ask(*parts, **options)
        assert set(refused.value.body) == {"message", "type", "param", "code"}
        return refused.value.status_code, refused.value.body["message"]

    def post(self, body, path="/v1/chat/completions", **headers):
        """Posts bytes; returns status and body."""
        return send(f"{self.url}{path}", body, {"Content-Type": "application/json", **headers})

    def metrics(self):
        """Returns the counters by their names with labels."""
        lines = send(f"{self.url}/metrics")[1].decode().splitlines()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }


def send(url, body=None, headers=None):
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, body, headers or {}), timeout=PATIENCE_S
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_for(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def user(*parts, text=QUESTION):
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


def video(url):
    return {"type": "video_url", "video_url": {"url": url}}


def image(url):
    return {"type": "image_url", "image_url": {"url": url}}


def data_url(content, kind="video/mp4"):
    """Returns bytes, or those of a file, as a URL."""
    content = content.read_bytes() if isinstance(content, Path) else content
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_bytes(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def chat_body(**values):
    return json.dumps({"model": NAME, "messages": [{"role": "user", "content": "Hi"}], **values}).encode()


def scope(path):
    """Returns what an ASGI server says of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "headers": [(b"content-type", b"application/json")],
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", 2),
    }


@contextmanager
def serving_files(answers):
    """A web server of others: paths, and each one's status, headers and body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
