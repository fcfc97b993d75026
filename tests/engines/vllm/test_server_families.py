"""`sharpv serve` with families whose videos are laid out in other ways than the one of `test_server`."""

import pytest

from sharpv.video import write_video
from tests.engines.vllm.serving import data_url, serving
from tests.engines.vllm.toys import clip

FRAMES, F = 32, 16
SEEN = {"llava_onevision": 32, "qwen3_vl": 4}
"""Frames that the LLM sees of 4 s: vLLM reads 32 for the one, 2 per second for the other, in pairs."""


@pytest.mark.parametrize("family", SEEN)
def test_a_server_prunes_says_so_and_refuses(family, checkpoint, tmp_path):
    openai = pytest.importorskip("openai", reason="vLLM is not installed: run `make test-vllm`")
    write_video(clip("cut", FRAMES), tmp_path / "clip.mp4", fps=8)
    url, tokens = data_url((tmp_path / "clip.mp4").read_bytes()), SEEN[family] * F
    serve = serving(checkpoint(family), tmp_path)
    server = next(serve)
    try:
        dense = server.ask(url, 1.0).usage.prompt_tokens
        told = server.ask(url, 0.5, raw=True)
        assert told.headers["x-sharpv-video-tokens"] == str(tokens)
        assert told.headers["x-sharpv-video-tokens-kept"] == str(tokens // 2)
        assert dense - told.parse().usage.prompt_tokens == tokens // 2
        with pytest.raises(openai.BadRequestError, match="give a number in"):
            server.ask(url, 7)
        assert server.ask(None).choices[0].message.content is not None
    finally:
        serve.close()
