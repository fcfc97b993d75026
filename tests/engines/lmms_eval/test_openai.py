"""lmms-eval's own client of OpenAI's API, `--model openai`, and `sharpv serve --engine transformers`."""

import base64
import io
import json
import socket
import subprocess
import sys
from statistics import fmean

import pytest
from PIL import Image

from sharpv import SharpVConfig
from sharpv.hf.ask import ask, load_model
from sharpv.hf.chat import Decoding, Message, chat
from sharpv.shapesqa import Question
from sharpv.shapesqa.questions import is_right
from sharpv.video import Sampling, read_video
from tests.engines.lmms_eval.conftest import SPEC
from tests.server.running import wait_for

MODEL, FRAMES = "toy:default", 8


@pytest.fixture(scope="module")
def url(tasks, tmp_path_factory):
    """Of a server of the toy in the box, a process of its own, which may read the clips of the tasks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    line = [sys.executable, "-m", "sharpv.cli", "serve", MODEL, "--engine", "transformers"]
    line += ["--port", str(port), "--media-folder", str(tasks), "--dtype", "float32", "--device", "cpu"]
    # Fewer than the client asks for.
    line += ["--frames", str(FRAMES - 2)]
    log = tmp_path_factory.mktemp("served") / "log"
    # Not a pipe: the server would stop where it is once that is full.
    with log.open("w") as told:
        process = subprocess.Popen(line, stderr=told)
    try:
        wait_for(lambda: process.poll() is not None or "startup complete" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def client(url):
    """The arguments of the client."""
    args = f"model_version={MODEL},base_url={url},api_key=none,httpx_trust_env=False"
    return f"{args},max_frames_num={FRAMES},max_retries=1"


@pytest.fixture(scope="module")
def toy(lmms_eval):
    return load_model(MODEL, "float32", "cpu")


def rows(tasks, task):
    return [json.loads(line) for line in (tasks / f"{task}.jsonl").read_text().splitlines()]


def test_clips_go_to_the_server_whole_and_are_answered_as_by_ask(command, client, tasks, toy, tmp_path):
    options = ("--output_path", tmp_path, "--log_samples")
    done = command(f"{client},pass_video_url=True", "shapesqa", *options, model="openai")
    assert done.returncode == 0, done.stderr
    (lines,) = tmp_path.rglob("*_samples_shapesqa.jsonl")
    samples = [json.loads(line) for line in lines.read_text().splitlines()]
    answers = [each["filtered_resps"] for each in sorted(samples, key=lambda sample: sample["doc_id"])]
    expected = [
        ask(
            toy,
            read_video(row["video"], Sampling(frames=FRAMES)),
            row["question"],
            SharpVConfig(),
            SPEC.max_new_tokens,
        )
        for row in rows(tasks, "shapesqa")
    ]
    assert answers == [answer.text for answer in expected]
    assert all(answer.report.tokens_kept < answer.report.tokens_total for answer in expected)
    questions = (
        Question(row["family"], row["question"], row["answer"], tuple(row["options"]))
        for row in rows(tasks, "shapesqa")
    )
    score = fmean(map(is_right, questions, answers))
    (row,) = (line for line in done.stdout.splitlines() if line.startswith("|shapesqa|"))
    assert float(row.split("|")[6]) == pytest.approx(score, abs=1e-4)


def test_frames_go_to_the_server_as_pictures_and_are_answered_as_by_chat(evaluate, client, tasks, toy):
    from lmms_eval.protocol import ChatMessages  # noqa: PLC0415

    answers = evaluate(client, "few", model="openai").answers
    expected = []
    for row in rows(tasks, "few"):
        parts = [{"type": "video", "url": row["video"]}, {"type": "text", "text": row["question"]}]
        sent = ChatMessages(messages=[{"role": "user", "content": parts}]).to_openai_messages(
            {"nframes": FRAMES}
        )
        pictures = [
            Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))
            for part in sent[0]["content"]
            if part["type"] == "image_url"
        ]
        assert len(pictures) == FRAMES
        message = Message("user", (*(each.convert("RGB") for each in pictures), row["question"]))
        reply = chat(toy, [message], SharpVConfig(), Decoding(max_new_tokens=4))
        # Pictures are no video.
        assert reply.report.videos == ()
        expected.append(reply.text)
    assert answers == expected
