"""A server that speaks as much of the OpenAI protocol as a job needs, and notes what it is asked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread


class Server(ThreadingHTTPServer):
    """Answers with the question in capitals.

    Attributes:
        asked: bodies of requests.
        headers: of requests, those for models, too.
        refusals: codes with which the next requests are refused; 0 drops the connection.
        models: names that it has.
        wants: value of Authorization without which it answers 401.
        says: why it refuses.
        last: after so many answers it is gone.
        owner: of its models, as it says.
        slow: questions that it does not answer before it ends, once each.
    """

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.asked: list[dict] = []
        self.headers: list[Message] = []
        self.refusals: list[int] = []
        self.models: list = ["the-model"]
        self.wants: str | None = None
        self.says = "not this one"
        self.last: int | None = None
        self.owner = "vllm"
        self.slow: list[str] = []
        self.ended = Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def gone(self) -> bool:
        return self.last is not None and len(self.asked) > self.last


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.gone or self._keyless():
            return
        self._say(200, {"data": [{"id": name, "owned_by": self.server.owner} for name in self.server.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        question = body["messages"][0]["content"][1]["text"]
        if self.server.gone or self._keyless():
            return
        if question in self.server.slow:
            self.server.slow.remove(question)
            self.server.ended.wait()
            return
        if self.server.refusals:
            code = self.server.refusals.pop()
            if code:
                self._say(code, {"error": {"message": self.server.says}})
            return
        found = {"choices": [{"message": {"content": question.upper()}}], "usage": {"prompt_tokens": 40}}
        self._say(200, found, **{"x-sharpv-video-tokens": "100", "x-sharpv-video-tokens-kept": "25"})

    def _keyless(self) -> bool:
        self.server.headers.append(self.headers)
        refused = self.server.wants is not None and self.headers["Authorization"] != self.server.wants
        if refused:
            self._say(401, {"error": {"message": "who are you?"}})
        return refused

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
        server.ended.set()
        server.shutdown()
