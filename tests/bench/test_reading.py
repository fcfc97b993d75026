"""`sharpv bench reading`: sampled frames against a decode in order, checked before a time is given."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sharpv.bench import reading
from sharpv.cli.app import app
from sharpv.tiny.clip import moving_square
from sharpv.video import write_video


@pytest.fixture
def clip(tmp_path):
    write_video(moving_square(frames=30, height=48, width=64), tmp_path / "clip.mp4", fps=10)
    return str(tmp_path / "clip.mp4")


def test_it_ends_in_a_line_of_json(clip):
    options = [clip, "--frames", "4", "--max-side", "32", "--repeats", "2"]
    result = CliRunner().invoke(app, ["bench", "reading", *options])
    assert result.exit_code == 0, result.output
    (case,) = json.loads(result.stdout)["cases"]
    assert (case["size"], case["total_frames"], case["seconds"]) == ([48, 64], 30, pytest.approx(3))
    assert case["bytes"] == {"sampled": 4 * 48 * 64 * 3, "scaled": 4 * 24 * 32 * 3}
    assert list(case["wall_ms"]) == ["sampled", "scaled", "in_order", "in_order_unthreaded"]
    assert all(low <= median <= high for median, low, high in case["processor_ms"].values())
    assert "30 frames" in result.stderr


def test_other_pictures_give_no_times(clip, monkeypatch):
    in_order = reading._in_order
    monkeypatch.setattr(reading, "_in_order", lambda *arguments: np.flip(in_order(*arguments), axis=0))
    with pytest.raises(RuntimeError, match="other pictures"):
        reading.run([clip], frames=4, repeats=1)


def test_a_missing_clip_is_told():
    result = CliRunner().invoke(app, ["bench", "reading", "nowhere.mp4"])
    assert result.exit_code == 1
    assert "nowhere.mp4" in result.stderr
