"""Runs commands as a user would, and looks at what they say."""

import json

import numpy as np
from typer.testing import CliRunner

from sharpv.cli.app import app

SHORT = ("--max-new-tokens", "2")


def run(*arguments: object, ok: int = 0):
    """Runs a command; its exit code must be `ok`, and no traceback may show."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == ok, result.output
    assert "Traceback" not in result.output
    return result


def ask(video: object, model: object, *options: object) -> dict:
    """Asks with `--json`; returns what stdout holds, which must be one line of JSON."""
    result = run("ask", video, "What moves?", "-m", model, *SHORT, *options, "--json")
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def refuse(*arguments: object) -> str:
    """Runs a command that fails; returns its only line of error."""
    result = run(*arguments, ok=1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert result.stderr.splitlines()[-1] == lines[0]
    assert result.stdout == ""
    return lines[0]


def check_truth(found: dict, frames: int, tokens_per_frame: int = 16) -> None:
    """The counts must agree with each other and with the clip."""
    report = found["report"]
    video = report["videos"][0]
    assert found["video"]["frames"] == len(found["video"]["timestamps"]) == frames
    assert (video["frames"], video["tokens_per_frame"]) == (frames, tokens_per_frame)
    kept = np.array(video["kept"])
    assert kept.shape == (frames, tokens_per_frame)
    assert report["tokens_kept"] == video["tokens_kept"] == kept.sum()
    assert report["tokens_total"] == frames * tokens_per_frame
    assert kept.sum(1).min() >= report["config"]["min_tokens_per_frame"]
    dropped = report["tokens_total"] - report["tokens_kept"]
    assert report["prompt_tokens"][0] - report["prompt_tokens_kept"][0] == dropped
    assert 0 < report["cache_bytes"] <= report["dense_cache_bytes"]
