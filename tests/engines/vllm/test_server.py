"""`sharpv serve`, on loopback, asked by the OpenAI package."""

import base64
import http.server
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image

from sharpv.video import write_video
from tests.engines.vllm.serving import DEFAULT_KEEP, MAX_LENGTH, data_url, serving
from tests.engines.vllm.toys import clip

FRAMES = 32
# The clip lasts 4 s, of which vLLM reads 2 frames per second; the toy sees pairs of them, of 4 x 4 tokens.
N, F = 4, 16


def budget(keep, n=N):
    return max(round(keep * n * F), n)


@pytest.fixture(scope="module")
def server(checkpoint, tmp_path_factory):
    yield from serving(checkpoint("qwen2_5_vl"), tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def open_server(server, checkpoint, tmp_path_factory, mp4):
    """One that fetches from private addresses, too, and reads files of one folder."""
    server.stop()
    allowed = ("--allow-private-media", "--allowed-local-media-path", str(mp4.parent))
    yield from serving(checkpoint("qwen2_5_vl"), tmp_path_factory.mktemp("open"), *allowed)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    write_video(clip("cut", FRAMES), path, fps=8)
    return path


@pytest.fixture(scope="module")
def url(mp4):
    return data_url(mp4.read_bytes())


def text_tokens(server, url):
    return server.ask(url, 1.0).usage.prompt_tokens - N * F


@pytest.mark.parametrize("keep", [None, 0.5, 0.12, 0.01])
def test_the_usage_counts_the_tokens_that_were_kept(server, url, keep):
    answer = server.ask(url, keep)
    assert answer.choices[0].message.content is not None
    kept = budget(DEFAULT_KEEP if keep is None else keep)
    assert answer.usage.prompt_tokens == text_tokens(server, url) + kept


@pytest.mark.parametrize("stream", [False, True])
def test_headers_say_the_tokens_before_and_after(server, url, stream):
    parts = [{"type": "video_url", "video_url": {"url": url}}] * 2 + [{"type": "text", "text": "What?"}]
    answer = server.completions.with_raw_response.create(
        model="toy", messages=[{"role": "user", "content": parts}], max_tokens=2, stream=stream
    )
    assert answer.headers["x-sharpv-video-tokens"] == str(2 * N * F)
    assert answer.headers["x-sharpv-video-tokens-kept"] == str(2 * budget(DEFAULT_KEEP))


def test_an_answer_without_videos_has_no_such_headers(server):
    answer = server.completions.with_raw_response.create(
        model="toy", messages=[{"role": "user", "content": "What?"}], max_tokens=2
    )
    assert "x-sharpv-video-tokens" not in answer.headers


@pytest.mark.parametrize(
    "options",
    [
        {"mm_processor_kwargs": {"sharpv_keep": 0.5, "fps": 30}},
        {"mm_processor_kwargs": {"sharpv_request": "mine"}},
        {"mm_processor_kwargs": "all"},
        {"media_io_kwargs": {"video": {"num_frames": 10000}}},
    ],
)
def test_other_options_of_the_processor_are_refused(server, url, options):
    import openai  # noqa: PLC0415

    parts = [{"type": "video_url", "video_url": {"url": url}}]
    with pytest.raises(openai.BadRequestError, match=r"takes sharpv_keep|give an object"):
        server.completions.create(
            model="toy", messages=[{"role": "user", "content": parts}], max_tokens=2, extra_body=options
        )


def test_auto_keeps_more_of_noise_than_of_a_still(server, tmp_path):
    counts = []
    for kind in ("still", "noise"):
        write_video(clip(kind, FRAMES), tmp_path / f"{kind}.mp4", fps=8)
        answer = server.ask(data_url((tmp_path / f"{kind}.mp4").read_bytes()), "auto")
        counts.append(answer.usage.prompt_tokens)
    assert counts[0] < counts[1]


def test_a_stream_says_the_same(server, url):
    whole = server.ask(url)
    chunks = list(server.ask(url, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_frames_as_jpeg_are_a_video(server):
    frames = []
    for frame in clip("noise", FRAMES):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG")
        frames.append(base64.b64encode(buffer.getvalue()).decode())
    answer = server.ask(f"data:video/jpeg;base64,{','.join(frames)}", 0.5)
    dense = server.ask(f"data:video/jpeg;base64,{','.join(frames)}", 1.0)
    # Without a clock, all frames are read.
    n = FRAMES // 2
    assert dense.usage.prompt_tokens - answer.usage.prompt_tokens == n * F - budget(0.5, n)


def refused(server, url, keep=None):
    """Returns the message of an error of the client."""
    import openai  # noqa: PLC0415

    with pytest.raises(openai.APIStatusError) as caught:
        server.ask(url, keep)
    assert 400 <= caught.value.status_code < 500, caught.value
    return str(caught.value)


@pytest.mark.parametrize("keep", [0, 1.5, "much", [0.5]])
def test_a_bad_share_is_refused_with_what_is_accepted(server, url, keep):
    assert "give a number in (0, 1], or 'auto'" in refused(server, url, keep)


def test_files_of_the_server_are_refused(server, mp4):
    assert "reads no files" in refused(server, f"file://{mp4}")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]"])
def test_addresses_that_are_not_public_are_refused(server, host):
    assert "is not public" in refused(server, f"http://{host}:9/clip.mp4")


def corrupt(mp4):
    return data_url(np.random.default_rng(0).bytes(4000))


def truncated(mp4):
    return data_url(mp4.read_bytes()[:200])


def empty(mp4):
    return "data:video/mp4;base64,"


@pytest.mark.parametrize("broken", [corrupt, truncated, empty])
def test_a_video_that_cannot_be_read_is_refused(server, mp4, broken):
    assert "cannot read the media" in refused(server, broken(mp4))


def test_a_video_that_is_too_long_for_the_model_is_refused_unless_enough_of_it_is_pruned(server, tmp_path):
    write_video(clip("noise", 120), tmp_path / "long.mp4", fps=2)
    url, tokens = data_url((tmp_path / "long.mp4").read_bytes()), 60 * F
    assert tokens > MAX_LENGTH
    message = refused(server, url, 1.0)
    assert f"exceeds model's maximum context length ({MAX_LENGTH})" in message
    assert server.ask(url, 0.12, raw=True).headers["x-sharpv-video-tokens"] == str(tokens)


def logprobs(answer):
    return [token.logprob for token in answer.choices[0].logprobs.content]


def test_many_at_once_some_of_them_broken(server, mp4, tmp_path):
    import openai  # noqa: PLC0415

    urls = []
    for i in range(32):
        write_video(np.roll(clip("noise", FRAMES), 3 * i, axis=2), tmp_path / f"{i}.mp4", fps=8)
        urls.append(data_url((tmp_path / f"{i}.mp4").read_bytes()))

    def one(i, salt="together"):
        try:
            return server.ask(
                corrupt(mp4) if i % 4 == 3 else urls[i], (0.12, 0.5)[i % 2], salt, logprobs=True
            )
        except openai.APIStatusError as error:
            return error

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(32)))
    good = [i for i in range(32) if i % 4 != 3]
    alone = {i: one(i, "alone") for i in good}
    # No clip's answer would do for that of another.
    assert len({tuple(logprobs(answer)) for answer in alone.values()}) == len(good)
    for i, answer in enumerate(answers):
        if i not in good:
            assert 400 <= answer.status_code < 500
            continue
        assert answer.choices[0].message.content == alone[i].choices[0].message.content
        assert answer.usage.prompt_tokens == alone[i].usage.prompt_tokens
        # Other requests in the batch change the order of additions in float32.
        assert logprobs(answer) == pytest.approx(logprobs(alone[i]), abs=1e-4)
    assert server.ask(None).choices[0].message.content is not None
    assert server.process.poll() is None


def test_a_server_that_may_fetches_from_private_addresses(open_server, mp4, url):
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(mp4.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{files.server_address[1]}/"
        fetched = open_server.ask(address + "clip.mp4")
        missing = refused(open_server, address + "none.mp4")
        files.shutdown()
    assert fetched.usage.prompt_tokens == open_server.ask(url).usage.prompt_tokens
    assert "404" in missing


def test_files_of_the_folder_that_vllm_allows_are_read_and_no_others(open_server, mp4, url, tmp_path):
    read = open_server.ask(f"file://{mp4}")
    assert read.usage.prompt_tokens == open_server.ask(url).usage.prompt_tokens
    (tmp_path / "other.mp4").write_bytes(mp4.read_bytes())
    assert "allowed-local-media-path" in refused(open_server, f"file://{tmp_path}/other.mp4")
