"""`sharpv batch --engine vllm` on a real server."""

import json

import pytest

from sharpv.video import write_video
from tests.cli.asking import refuse, run
from tests.engines.vllm.serving import DEFAULT_KEEP, serving
from tests.engines.vllm.toys import clip

# A clip of 32 frames in 4 s, of which vLLM reads 2 per second; the toy sees pairs of them, of 4 x 4 tokens.
TOKENS = 64


@pytest.fixture(scope="module")
def url(checkpoint, tmp_path_factory):
    for server in serving(checkpoint("qwen2_5_vl"), tmp_path_factory.mktemp("server")):
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """A still, noise and a clip that is cut short."""
    folder = tmp_path_factory.mktemp("clips")
    for name in ("still", "noise"):
        write_video(clip(name, 32), folder / f"{name}.mp4", fps=8)
    (folder / "short.mp4").write_bytes((folder / "still.mp4").read_bytes()[:400])
    names = ("still", "short", "noise")
    text = "".join(f"{name},{name}.mp4,What happens?\n" for name in names)
    (folder / "rows.csv").write_text(f"id,video,question\n{text}")
    return folder / "rows.csv"


@pytest.mark.parametrize("options", [(), ("--retention", "0.5"), ("--retention", "adaptive")])
def test_rows_are_answered_with_the_share_that_was_asked_for(url, rows, tmp_path, options):
    out = tmp_path / "out.jsonl"
    command = ("batch", rows, "-o", out, "--engine", "vllm", "--url", url, "--workers", "2", *options)
    summary = json.loads(run(*command, "--max-new-tokens", "4", "--json").stdout)
    assert (summary["rows"], summary["errors"]) == (3, 1)
    lines = {line["id"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert lines["short"]["error"].startswith("the server answered 4")
    kept = {}
    for name in ("still", "noise"):
        line = lines[name]
        assert (line["error"], line["video_tokens"]) == (None, TOKENS)
        kept[name] = line["video_tokens_kept"]
        assert line["prompt_tokens"] - line["prompt_tokens_kept"] == TOKENS - kept[name]
    if "adaptive" in options:
        assert kept["noise"] > kept["still"]
    else:
        share = float(options[1]) if options else DEFAULT_KEEP
        assert set(kept.values()) == {round(share * TOKENS)}


def test_it_is_not_taken_for_a_server_on_transformers(url, rows, tmp_path):
    assert "say --engine vllm" in refuse("batch", rows, "-o", tmp_path / "out.jsonl", "--url", url)
