"""Who waits for whom, and what is told when the model is stuck."""

import asyncio
import gc
import json
import socket
import threading
import time
import weakref

import pytest

from sharpv.server.limits import Limits
from sharpv.server.line import Line
from tests.server.running import NAME, send, user, video, wait_for


def test_media_that_do_not_come_hold_up_no_text(start):
    server = start(Limits(loaded=4), allow_private=True)
    silent = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{silent.getsockname()[1]}/clip.mp4"
    body = json.dumps({"model": NAME, "messages": [user(video(url))]}).encode()
    held = [threading.Thread(target=server.post, args=(body,)) for _ in range(5)]
    for thread in held:
        thread.start()
    calls = [silent.accept()[0] for _ in range(4)]
    try:
        wait_for(lambda: server.metrics()["sharpv_queue"] == 5)
        assert server.ask(max_tokens=1).usage.completion_tokens == 1
        assert all(thread.is_alive() for thread in held)
    finally:
        for connection in (silent, *calls):
            connection.close()
        for thread in held:
            thread.join()


def health(server):
    status, body = send(f"{server.url}/health")
    return status, json.loads(body)


def test_health_tells_of_a_job_that_does_not_end(start):
    server = start(Limits(request_seconds=0.2))
    entered, released = threading.Event(), threading.Event()

    def stuck(left):
        entered.set()
        released.wait()

    async def ask():
        async with asyncio.timeout(0.1):
            await server.service.line.run(stuck)

    asking = threading.Thread(target=lambda: asyncio.run(refused(ask())))
    asking.start()
    try:
        entered.wait()
        wait_for(lambda: health(server)[0] == 503)
        error = health(server)[1]["error"]
        assert error["code"] == "stuck"
        assert "request_seconds" in error["message"]
        assert "given up" in error["message"]
    finally:
        released.set()
        asking.join()
    wait_for(lambda: health(server) == (200, {"status": "ok"}))


def test_waiting_for_the_model_counts_as_waiting(start):
    """Also of a request without media, which counts in the line like any other."""
    server = start()
    entered, released, held_s = threading.Event(), threading.Event(), 0.3

    def busy(left):
        entered.set()
        released.wait()

    holding = threading.Thread(target=lambda: asyncio.run(server.service.line.run(busy)))
    asking = threading.Thread(target=server.ask)
    holding.start()
    entered.wait()
    asking.start()
    wait_for(lambda: server.metrics()["sharpv_queue"] == 1)
    came = time.monotonic()
    wait_for(lambda: time.monotonic() - came > held_s)
    released.set()
    for thread in (holding, asking):
        thread.join()
    assert server.metrics()['sharpv_seconds_total{phase="queue"}'] >= held_s


async def refused(work):
    try:
        await work
    except TimeoutError:
        return
    raise AssertionError("it was answered")


def test_a_job_within_its_time_is_no_failure(start):
    server = start(Limits(request_seconds=60))
    entered, released = threading.Event(), threading.Event()

    def busy(left):
        entered.set()
        released.wait()

    asking = threading.Thread(target=lambda: asyncio.run(server.service.line.run(busy)))
    asking.start()
    entered.wait()
    assert health(server) == (200, {"status": "ok"})
    released.set()
    asking.join()


class Frames:
    """Stands for what a request has in memory."""


def test_what_is_waited_for_no_more_is_not_held_until_the_model_is_free():
    line, entered, released = Line(Limits()), threading.Event(), threading.Event()

    def busy(left):
        entered.set()
        released.wait()

    async def leave(frames):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await line.run(lambda left: frames)
        return weakref.ref(frames)

    async def ask():
        holding = asyncio.create_task(line.run(busy))
        await asyncio.to_thread(entered.wait)
        try:
            held = await leave(Frames())
            await asyncio.sleep(0)  # the step of this task that was cancelled holds its own frames
            gc.collect()
            return held()
        finally:
            released.set()
            await holding

    assert asyncio.run(ask()) is None
    assert asyncio.run(line.run(lambda left: "the model is free")) == "the model is free"
    line.close()
