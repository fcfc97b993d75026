"""Many at once: a line that loses nobody, and lets those go who leave."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import torch
from jinja2 import TemplateError

from sharpv.config import SharpVConfig
from sharpv.errors import AttachError, InputError
from sharpv.hf.ask import ask
from sharpv.server.limits import Limits
from sharpv.tiny.clip import moving_square
from sharpv.video import Sampling, read_video, write_video
from tests.server.running import FRAMES, NAME, data_url, video, wait_for

AT_ONCE, WITH_VIDEO = 64, 16
ENDLESS = 20_000
"""More tokens than the model writes while a test lasts."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of different lengths."""
    folder = tmp_path_factory.mktemp("clips")
    paths = [folder / f"{n}.mp4" for n in range(1, 5)]
    for n, path in enumerate(paths, 1):
        write_video(moving_square(frames=n + 1, height=64, width=64), path, fps=4)
    return paths


def test_of_64_at_once_none_is_lost_and_none_mixed_up(server, loaded, clips):
    """Every prompt has its own length, a quarter of them is about a clip, and half of the answers stream."""

    def question(i):
        return "What? " * (i + 1)

    def expected(i):
        clip = read_video(clips[i % len(clips)], Sampling(frames=FRAMES))
        return ask(loaded, clip, question(i), SharpVConfig(), 6)

    def answered(i):
        parts = [video(data_url(clips[i % len(clips)]))] if i < WITH_VIDEO else []
        if i % 2:
            found = server.ask(*parts, text=question(i), max_tokens=6)
            return found.choices[0].message.content, found.usage.dense_prompt_tokens
        stream = server.ask(
            *parts, text=question(i), max_tokens=6, stream=True, stream_options={"include_usage": True}
        )
        *chunks, last = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        return text, last.usage.dense_prompt_tokens

    alone = [(answer.text, answer.report.prompt_tokens[0]) for answer in map(expected, range(WITH_VIDEO))]
    alone += [answered(i) for i in range(WITH_VIDEO, AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = list(pool.map(answered, range(AT_ONCE)))
    assert together == alone
    assert len(set(together)) == AT_ONCE


@pytest.fixture(scope="module")
def long_winded(start, talker):
    return start(Limits(answer_tokens=ENDLESS, queue=2), model=talker)


def endless(server):
    return server.ask(max_tokens=ENDLESS, stream=True)


def test_an_answer_stops_when_its_reader_leaves(long_winded):
    stream = endless(long_winded)
    next(stream)
    stream.close()
    assert long_winded.ask(max_tokens=1).usage.completion_tokens == 1
    wait_for(lambda: long_winded.metrics()["sharpv_queue"] == 0)


def test_so_does_one_that_is_sent_whole(long_winded):
    hasty = long_winded.client.with_options(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(
            model=NAME, messages=[{"role": "user", "content": "Hi"}], max_tokens=ENDLESS
        )
    assert long_winded.ask(max_tokens=1).usage.completion_tokens == 1


def test_who_finds_the_line_full_is_told_to_come_back(long_winded):
    streams = [endless(long_winded)]
    waiting = threading.Thread(target=lambda: streams.append(endless(long_winded)))
    waiting.start()
    wait_for(lambda: long_winded.metrics()["sharpv_queue"] == 2)
    with pytest.raises(openai.RateLimitError, match="queue") as refused:
        long_winded.ask()
    assert refused.value.response.headers["retry-after"] == "1"
    streams[0].close()
    waiting.join()
    streams[1].close()
    assert long_winded.ask(max_tokens=1).usage.completion_tokens == 1


def test_a_request_has_its_time(start, talker):
    timed = start(Limits(answer_tokens=ENDLESS, request_seconds=0.5), model=talker)
    status, reason = timed.refuse(max_tokens=ENDLESS)
    assert status == 408
    assert "request_seconds" in reason
    with pytest.raises(openai.APIError, match="request_seconds"):
        list(endless(timed))
    assert asyncio.run(timed.service.line.run(lambda left: "the model is free")) == "the model is free"


def test_limits_of_a_conversation(start):
    strict = start(Limits(answer_tokens=3, text_characters=20, frames=2))
    assert strict.ask(max_tokens=3).usage.completion_tokens == 3
    for options, named in (
        ({"max_tokens": 4}, "answer_tokens"),
        ({"text": "x" * 21}, "text_characters"),
        ({"sharpv": {"frames": 3}}, "(frames)"),
    ):
        status, reason = strict.refuse(**{"max_tokens": 3, **options})
        assert status == 400
        assert named in reason
    found = strict.client.chat.completions.create(model=NAME, messages=[{"role": "user", "content": "Hi"}])
    assert found.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyError("the model is broken"), 500, "KeyError"),
        (ValueError("the model is broken"), 500, "ValueError"),
        (AttachError("the model is broken"), 500, "AttachError"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 503, "memory"),
        (MemoryError(), 503, "memory"),
        (torch.OutOfMemoryError("CUDA"), 503, "memory"),
        (InputError("got a clip that is too short"), 400, "too short"),
    ],
)
def test_a_failure_of_the_model_is_told_logged_and_survived(
    start, loaded, monkeypatch, caplog, error, status, told
):
    server = start()

    def fail(*args, **kwargs):
        raise error

    with monkeypatch.context() as broken:
        broken.setattr(loaded.model, "generate", fail, raising=False)
        found, reason = server.refuse()
    assert found == status
    assert told in reason
    assert "broken" not in reason
    assert str(error).strip("'") in caplog.text
    assert [record.name for record in caplog.records] == ["sharpv.server.service"]
    assert server.ask().usage.prompt_tokens > 0


def test_what_the_processor_refuses_is_the_clients_fault(server, loaded, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise TemplateError("system comes first")

    monkeypatch.setattr(loaded.processor, "apply_chat_template", refuse, raising=False)
    status, reason = server.refuse()
    assert (status, "system comes first" in reason) == (400, True)
    assert "system comes first" in caplog.text
