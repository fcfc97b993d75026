"""The server, driven by the OpenAI package: its answers are those of `sharpv ask`."""

import asyncio
import json

import numpy as np
import openai
import pytest

from sharpv.config import SharpVConfig
from sharpv.hf.ask import VideoModel, ask
from sharpv.server import service as serving
from sharpv.server.refused import Refused
from sharpv.server.requests import ChatRequest
from sharpv.server.service import Service, Settings
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Sampling, read_video
from tests.server.running import (
    FRAMES,
    NAME,
    QUESTION,
    data_url,
    image,
    picture_bytes,
    serving_files,
    user,
    video,
)

TOKENS_PER_FRAME = 16


@pytest.fixture(scope="module")
def asked(loaded, clip):
    """Gives what `sharpv ask` answers with these settings."""

    def asked(config=None, frames=FRAMES, method="sharpv"):
        config = config or SharpVConfig()
        return ask(loaded, read_video(clip, Sampling(frames=frames)), QUESTION, config, 4, method)

    return asked


def check_same(found, expected):
    """The answer, the tokens and the layers must be those of `sharpv ask`."""
    report = expected.report
    assert found.choices[0].message.content == expected.text
    assert found.usage.prompt_tokens == report.prompt_tokens_kept[0]
    assert found.usage.dense_prompt_tokens == report.prompt_tokens[0]
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.sharpv["video_tokens"] == report.tokens_total
    assert found.sharpv["video_tokens_kept"] == report.tokens_kept
    assert found.sharpv["layers_dropped"] == sum(any(layer.dropped) for layer in report.layers)
    assert found.sharpv["cache_bytes"] == report.cache_bytes
    patches = found.sharpv["patches"], found.sharpv["patches_encoded"]
    assert patches == (report.patches_total, report.patches_encoded)
    assert (patches == (None, None)) == (report.config.vision_reuse is None)


def test_a_data_url_is_answered_as_ask_answers_it(server, clip, asked):
    found = server.ask(video(data_url(clip)))
    check_same(found, asked())
    assert found.usage.prompt_tokens < found.usage.dense_prompt_tokens
    assert found.choices[0].finish_reason == "length"
    assert found.usage.completion_tokens == 4
    assert found.model == NAME


def test_so_is_a_clip_from_the_web(server, clip, asked):
    files = {"/clip": (302, {"Location": "/moved.mp4"}, b""), "/moved.mp4": (200, {}, clip.read_bytes())}
    with serving_files(files) as url:
        check_same(server.ask(video(f"{url}/clip")), asked())


def test_so_is_an_uploaded_clip_until_it_is_deleted(server, clip, asked):
    with clip.open("rb") as content:
        stored = server.client.files.create(file=content, purpose="user_data")
    assert (stored.bytes, stored.filename) == (clip.stat().st_size, "clip.mp4")
    part = {"type": "file", "file": {"file_id": stored.id}}
    check_same(server.ask(part), asked())
    assert server.client.files.retrieve(stored.id).id == stored.id
    assert server.client.files.delete(stored.id).deleted
    assert server.refuse(part)[0] == 404


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({"retention": 0.12, "memory_threshold": None}, {}),
        ({"threshold": 1.2, "coverage": 0.5, "min_tokens_per_frame": 2}, {}),
        ({"retention": 1.0, "memory_threshold": None}, {}),
        ({"vision_reuse": "safe"}, {}),
        ({"retention": 0.25, "memory_threshold": 2.0}, {"method": "vidcom2", "frames": 4}),
    ],
)
def test_a_request_has_options_of_its_own(server, clip, asked, options, settings):
    found = server.ask(video(data_url(clip)), sharpv=options | settings)
    check_same(found, asked(SharpVConfig(**options), **settings))
    assert found.sharpv["videos"][0]["frames"] == settings.get("frames", FRAMES)
    assert found.sharpv["method"] == settings.get("method", "sharpv")


def test_it_is_told_whether_tokens_stand_for_others(server, clip):
    for method, merged in (("vidcom2", False), ("visionzip", True)):
        found = server.ask(video(data_url(clip)), sharpv={"method": method, "retention": 0.5})
        assert [item["merged"] for item in found.sharpv["videos"]] == [merged]


def test_a_stream_says_the_same(server, clip, asked):
    expected = asked()
    stream = server.ask(video(data_url(clip)), stream=True, stream_options={"include_usage": True})
    *chunks, last, usage = list(stream)
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == expected.text
    assert last.choices[0].finish_reason == "length"
    assert last.sharpv["video_tokens_kept"] == expected.report.tokens_kept
    assert usage.choices == []
    assert usage.usage.prompt_tokens == expected.report.prompt_tokens_kept[0]
    assert usage.usage.dense_prompt_tokens == expected.report.prompt_tokens[0]
    assert len({chunk.id for chunk in (*chunks, last, usage)}) == 1


def test_a_clip_shorter_than_the_frames_asked_is_read_whole(server, clip):
    found = server.ask(video(data_url(clip)), sharpv={"frames": 100})
    assert found.sharpv["videos"][0]["frames"] == 12


def test_frames_by_rate(server, clip):
    found = server.ask(video(data_url(clip)), sharpv={"fps": 2})
    assert found.sharpv["videos"][0]["frames"] == 4


def test_frames_in_the_words_of_vllm(server, clip):
    reading = {"media_io_kwargs": {"video": {"num_frames": 5}}}
    for options in ({}, {"sharpv": {"retention": 0.5}}):
        found = server.client.chat.completions.create(
            model=NAME, messages=[user(video(data_url(clip)))], max_tokens=2, extra_body=reading | options
        )
        assert found.sharpv["videos"][0]["frames"] == 5
    assert found.sharpv["video_tokens_kept"] * 2 == found.sharpv["video_tokens"]


def test_single_frames_are_a_video(server):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 64, 80, 3), dtype=np.uint8)
    frames = [data_url(picture_bytes(frame, "JPEG"), "image/jpeg").partition(",")[2] for frame in pixels]
    found = server.ask(video(f"data:video/jpeg;base64,{','.join(frames)}"))
    assert found.sharpv["videos"][0]["frames"] == 3
    assert found.sharpv["video_tokens"] == 3 * TOKENS_PER_FRAME


def test_images_are_read_and_not_pruned(server, clip):
    picture = image(data_url(picture_bytes(np.full((64, 64, 3), 200, dtype=np.uint8)), "image/png"))
    alone = server.ask(picture)
    assert alone.usage.prompt_tokens == alone.usage.dense_prompt_tokens > TOKENS_PER_FRAME
    assert alone.sharpv["videos"] == []
    assert "no video" in alone.sharpv["notes"][0]
    both, bare = server.ask(picture, video(data_url(clip))), server.ask(video(data_url(clip)))
    assert both.usage.dense_prompt_tokens > bare.usage.dense_prompt_tokens
    assert both.sharpv["video_tokens"] == bare.sharpv["video_tokens"]


def test_two_clips_and_several_turns(server, clip):
    url = data_url(clip)
    once = server.ask(video(url))
    found = server.client.chat.completions.create(
        model=NAME,
        messages=[
            {"role": "developer", "content": "Be short."},
            user(video(url)),
            {"role": "assistant", "content": "A square."},
            user(video(url), text="And now?"),
        ],
        max_completion_tokens=2,
    )
    assert [item["frames"] for item in found.sharpv["videos"]] == [FRAMES, FRAMES]
    assert found.usage.dense_prompt_tokens > 2 * once.sharpv["video_tokens"]
    assert found.usage.completion_tokens == 2


def test_text_alone(server):
    found = server.ask()
    assert found.usage.prompt_tokens == found.usage.dense_prompt_tokens
    assert server.ask(temperature=0).choices[0].message.content == found.choices[0].message.content


def test_sampling_follows_its_seed(server):
    def sampled(seed):
        return server.ask(temperature=1.5, seed=seed, max_tokens=16).choices[0].message.content

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


def test_the_model_is_listed(server):
    assert [model.id for model in server.client.models.list()] == [NAME]


def test_another_model_is_refused(server):
    with pytest.raises(openai.NotFoundError, match="this is 'tiny'"):
        server.client.chat.completions.create(model="gpt-5", messages=[user()])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n": 2}, "n"),
        ({"stop": ["."]}, "stop"),
        ({"extra_body": {"top_k": 3}}, "top_k"),
        ({"extra_body": {"sharpv": {"retain": 0.1}}}, "retain"),
        ({"extra_body": {"sharpv": {"retention": 1.5}}}, "retention"),
        ({"extra_body": {"sharpv": {"retention": 0.5, "threshold": 1.0}}}, "threshold"),
        ({"extra_body": {"sharpv": {"method": "best"}}}, "best"),
        ({"extra_body": {"sharpv": {"frames": 4, "fps": 2}}}, "frames"),
        (
            {"extra_body": {"media_io_kwargs": {"video": {"num_frames": 4}}, "sharpv": {"fps": 2}}},
            "one of th",
        ),
        ({"extra_body": {"media_io_kwargs": {"video": {"fps": 4}}}}, "fps"),
        ({"extra_body": {"media_io_kwargs": {"video": {"num_frames": -1}}}}, "num_frames"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_what_is_not_served_is_refused_by_name(server, options, named):
    with pytest.raises(openai.BadRequestError, match=named):
        server.client.chat.completions.create(model=NAME, messages=[user()], **options)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "best"}, "'best'"),
        ({"method": "vidcom2"}, "retention"),
        ({"method": "vidcom2", "retention": 0.2, "coverage": 0.5}, "coverage"),
        ({"frames": 1000}, "frames"),
    ],
)
def test_options_are_refused_before_the_video_is_read(server, monkeypatch, options, named):
    loads = []
    monkeypatch.setattr(serving, "load_media", lambda *args: loads.append(args))
    status, reason = server.refuse(video("http://127.0.0.1:9/clip.mp4"), sharpv=options)
    assert (status, named in reason, loads) == (400, True, [])


@pytest.mark.parametrize(
    ("family", "options", "named"),
    [
        ("qwen2_vl", {"positions": "compact"}, "compact"),
        ("glm4v", {"method": "visionzip", "retention": 0.5}, "attention of the vision tower"),
        ("gemma4", {"method": "fastv", "retention": 0.5}, "inside the LLM"),
    ],
)
def test_so_are_options_that_this_model_cannot_follow(family, options, named):
    model, processor = RANDOM_MODELS[family]()
    service = Service(VideoModel(NAME, model, processor), NAME, Settings())
    asked = {"model": NAME, "messages": [user()], "sharpv": options}
    try:
        with pytest.raises(Refused, match=named) as refused:
            asyncio.run(service.answer(ChatRequest.model_validate(asked), print))
        assert (refused.value.status_code, refused.value.code) == (400, "bad_options")
    finally:
        service.close()


def test_a_users_text_is_no_placeholder(server):
    status, reason = server.refuse(text="What is in <video>?")
    assert status == 400
    assert "tokens for pictures" in reason


def test_metrics_count_tokens_before_and_after(server, clip):
    before = server.metrics()
    found = server.ask(video(data_url(clip)))
    after = server.metrics()

    def rise(name):
        return after[name] - before.get(name, 0)

    assert rise('sharpv_requests_total{path="/v1/chat/completions",status="200"}') == 1
    assert rise('sharpv_prompt_tokens_total{state="read"}') == found.usage.prompt_tokens
    assert rise('sharpv_prompt_tokens_total{state="dense"}') == found.usage.dense_prompt_tokens
    assert rise('sharpv_video_tokens_total{state="read"}') == found.sharpv["video_tokens_kept"]
    assert rise("sharpv_completion_tokens_total") == found.usage.completion_tokens
    for phase in ("media", "vision", "scoring", "prefill", "decode"):
        assert rise(f'sharpv_seconds_total{{phase="{phase}"}}') > 0
    assert after["sharpv_queue"] == 0


def test_health(server):
    assert json.loads(server.post(None, "/health")[1]) == {"status": "ok"}
