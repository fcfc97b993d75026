"""`sharpv serve` in a process of its own, on a toy, and a client of it."""

import base64
import os
import socket
import subprocess
import sys
import time

import pytest

REASON = "vLLM is not installed: run `make test-vllm`"
STARTING_S = 240
LONGEST = "900"  # seconds, after which a server that nobody stopped stops
DEFAULT_KEEP = 0.25
MAX_LENGTH = 600
EXTRA = (
    *("--max-model-len", str(MAX_LENGTH), "--max-num-seqs", "8", "--dtype", "float32", "--enforce-eager"),
    *("--limit-mm-per-prompt", '{"video": 2, "image": 1}', "--served-model-name", "toy"),
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One server. It has to be stopped."""

    def __init__(self, model, log, *options):
        openai = pytest.importorskip("openai", reason=REASON)
        self.port = free_port()
        self.log = log
        command = [sys.executable, "-m", "sharpv.cli", "serve", str(model), "--port", str(self.port)]
        self.process = subprocess.Popen(
            ["timeout", "--foreground", LONGEST, *command, "--keep", str(DEFAULT_KEEP), *options, *EXTRA],
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            env={**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"},
        )
        self.client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key="none", max_retries=0, timeout=120
        )

    @property
    def completions(self):
        return self.client.chat.completions

    def wait(self):
        for _ in range(STARTING_S):
            if self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(1)
        raise RuntimeError(f"the server did not start: {self.log.read_text()[-3000:]}")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)

    def ask(self, url, keep=None, salt=None, raw=False, **options):
        """Asks about a clip, with a cache of keys and values of the `salt`'s own."""
        extra = {} if keep is None else {"mm_processor_kwargs": {"sharpv_keep": keep}}
        if salt is not None:
            extra["cache_salt"] = salt
        parts = [{"type": "text", "text": "What happens?"}]
        if url is not None:
            parts.insert(0, {"type": "video_url", "video_url": {"url": url}})
        ask = self.completions.with_raw_response.create if raw else self.completions.create
        return ask(
            model="toy",
            messages=[{"role": "user", "content": parts}],
            max_tokens=4,
            temperature=0,
            extra_body=extra,
            **options,
        )


def serving(model, folder, *options):
    """Yields a server of a checkpoint, once it answers, and stops it."""
    pytest.importorskip("vllm", reason=REASON)
    server = Server(model, folder / "log", *options)
    try:
        yield server.wait()
    finally:
        server.stop()


def data_url(content, kind="video/mp4"):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
