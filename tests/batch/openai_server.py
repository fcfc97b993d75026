"""A server that speaks as much of the OpenAI protocol as a job needs, and notes what it is asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


class Server(ThreadingHTTPServer):
    """Answers with the question in capitals.

    Attributes:
        asked: bodies of requests.
        refusals: codes with which the next requests are refused.
        last: after so many answers it is gone.
    """

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.asked: list[dict] = []
        self.refusals: list[int] = []
        self.last: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def gone(self) -> bool:
        return self.last is not None and len(self.asked) > self.last


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if not self.server.gone:
            self._say(200, {"data": [{"id": "the-model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        question = body["messages"][0]["content"][1]["text"]
        if self.server.gone:
            return
        if self.server.refusals:
            self._say(self.server.refusals.pop(), {"error": {"message": "not this one"}})
            return
        found = {"choices": [{"message": {"content": question.upper()}}], "usage": {"prompt_tokens": 40}}
        self._say(200, found, **{"x-sharpv-video-tokens": "100", "x-sharpv-video-tokens-kept": "25"})

    def _say(self, code: int, values: dict, **headers: str) -> None:
        data = json.dumps(values).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def serving(port: int = 0) -> Iterator[Server]:
    with Server(port) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
