"""Asks a server about clips, several at a time: requests per second and latency, as rows of Markdown.

`python docs/concurrency.py http://127.0.0.1:8000 --label "SharpV 0.12"`, with a server that `sharpv serve` or
`vllm serve` has started. Every clip is new, so that no cache helps.
"""

import argparse
import base64
import json
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sharpv.video import write_video


def made_clip(seed: int, frames: int, size: int) -> str:
    """Returns a data URL of an mp4: a square that moves over a picture of its own, 8 frames per second."""
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 255, (1, size // 8, size // 8, 3), dtype=np.uint8)
    video = video.repeat(8, 1).repeat(8, 2).repeat(frames, 0)
    for t in range(frames):
        left = t * (size - size // 4) // frames
        video[t, size // 4 : size // 2, left : left + size // 4] = 255
    with TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_video(video, path, fps=8)
        return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}"


def ask(server: str, model: str, url: str, new_tokens: int) -> tuple[float, int]:
    """Asks about one clip; returns the seconds that it took and the tokens of the prompt."""
    parts = [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "text", "text": "What happens in this video?"},
    ]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": new_tokens,
        "temperature": 0,
    }
    request = urllib.request.Request(
        f"{server}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    start = time.perf_counter()
    with urllib.request.urlopen(request, timeout=600) as answer:
        usage = json.load(answer)["usage"]
    return time.perf_counter() - start, usage["prompt_tokens"]


def measure(options: argparse.Namespace, model: str, concurrency: int, first_seed: int) -> dict[str, Any]:
    """Asks about new clips, `concurrency` at a time."""
    seeds = range(first_seed, first_seed + options.requests)
    clips = [made_clip(seed, options.frames, options.size) for seed in seeds]
    start = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        done = list(pool.map(lambda url: ask(options.server, model, url, options.new_tokens), clips))
    elapsed = time.perf_counter() - start
    return {
        "per_second": len(done) / elapsed,
        "median_s": statistics.median(seconds for seconds, _ in done),
        "prompt": statistics.median(tokens for _, tokens in done),
    }


def main() -> None:
    """Prints a row for each concurrency."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="its address, such as http://127.0.0.1:8000")
    parser.add_argument("--label", default="", help="first column of the rows")
    parser.add_argument("--concurrency", default="1,2,4,8")
    parser.add_argument("--requests", type=int, default=32, help="at each concurrency")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", type=int, default=224, help="side of a frame in pixels")
    parser.add_argument("--new-tokens", type=int, default=8)
    options = parser.parse_args()
    with urllib.request.urlopen(f"{options.server}/v1/models") as answer:
        model = json.load(answer)["data"][0]["id"]
    measure(argparse.Namespace(**{**vars(options), "requests": 4}), model, 2, first_seed=10**6)  # warm-up
    for i, concurrency in enumerate(map(int, options.concurrency.split(","))):
        row = measure(options, model, concurrency, first_seed=i * options.requests)
        sys.stdout.write(
            f"| {options.label} | {concurrency} | {row['prompt']:.0f} | {row['per_second']:.2f} "
            f"| {row['median_s']:.2f} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
