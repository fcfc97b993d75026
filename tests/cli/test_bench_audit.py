"""`sharpv bench audit`: what reuse changes on a user's clips, and when it warns."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from sharpv.bench.audit import AuditedClip, run
from sharpv.cli import audit as command
from sharpv.cli.app import app
from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.report import ReuseAudit, ReuseReport
from sharpv.tiny.clip import moving_square
from sharpv.video import Sampling, write_video

FRAMES = ["--frames", "8"]


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["bench", "audit", *map(str, arguments)])


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict:
    """A square that moves, a picture that stands still, and noise."""
    folder = tmp_path_factory.mktemp("clips")
    moving = moving_square(frames=24, height=64, width=64)
    noise = np.random.default_rng(1).integers(0, 256, (24, 64, 64, 3), dtype=np.uint8)
    made = {"moving": moving, "still": np.repeat(moving[:1], 24, 0), "noise": noise}
    paths = {name: folder / f"{name}.mp4" for name in made}
    for name, frames in made.items():
        write_video(frames, paths[name], fps=6)
    return paths


def audited(cosine: float, overlap: float | None) -> AuditedClip:
    found = ReuseAudit(frames=2, cosine_mean=cosine, cosine_p5=0.5, temporal_error=0.1, kept_overlap=overlap)
    mask = ((True, True), (True, False))
    reuse = ReuseReport(computed=mask, grid=(1, 2), plan_milliseconds=1.0, audit=found)
    return AuditedClip("a.mp4", 2, reuse)


def test_a_table_then_a_line_of_json(clips, tmp_path):
    out = tmp_path / "audit.json"
    result = invoke(clips["moving"], clips["still"], *FRAMES, "--audit", 3, "-o", out)
    assert result.exit_code == 0, result.output
    *text, last = result.stdout.strip().splitlines()
    values = json.loads(last)
    assert json.loads(out.read_text()) == values
    assert (values["bench"], values["model"]) == ("audit", "toy:default")
    assert values["config"]["vision_reuse"]["audit"] == 3
    moving, still = values["clips"]
    assert moving["clip"] == "moving.mp4"
    assert moving["audit"]["frames"] == still["audit"]["frames"] == 3
    assert moving["share"] == moving["rows_computed"] / moving["rows_total"] < 0.5
    # A frame in full, and nothing else.
    assert still["rows_computed"] * 8 == still["rows_total"]
    assert still["full_frames"] == 1
    assert still["audit"]["cosine_mean"] == pytest.approx(1, abs=1e-3)
    assert text[0].split()[:3] == ["clip", "frames", "patches"]
    assert text[2].startswith("moving.mp4")
    assert f"{100 * moving['share']:.1f}" in text[2]
    assert f"{moving['audit']['cosine_mean']:.4f}" in text[2]


def test_a_clip_that_is_encoded_whole_is_not_audited_and_says_why(clips):
    result = invoke(clips["noise"], *FRAMES)
    assert result.exit_code == 0, result.output
    assert "noise.mp4: nothing to audit, all patches were encoded" in result.stderr
    assert "max_share=0.85" in result.stderr
    values = json.loads(result.stdout.splitlines()[-1])["clips"][0]
    assert values["audit"] is None
    assert values["share"] == 1


def test_only_json_if_asked_and_the_file_and_options_are_heeded(clips, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("vision_reuse: {threshold: 9, audit: 2}\nretention: 0.5\n")
    result = invoke(clips["moving"], *FRAMES, "--config", config, "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert (values["config"]["vision_reuse"]["threshold"], values["config"]["retention"]) == (9, 0.5)
    assert values["clips"][0]["audit"]["frames"] == 2
    safe = json.loads(invoke(clips["moving"], *FRAMES, "--vision-reuse", "safe", "--json").stdout)
    assert safe["config"]["vision_reuse"]["dilate"] == 1
    assert safe["clips"][0]["rows_computed"] > values["clips"][0]["rows_computed"]


@pytest.mark.parametrize(
    ("cosine", "overlap", "said"),
    [
        (0.98, 0.90, []),
        (0.99, None, []),
        (0.9794, 0.95, ["a mean cosine of 0.979 is below 0.98"]),
        (0.99, 0.8994, ["only 89.9% of the kept tokens stay, less than 90%"]),
        (float("nan"), 0.5, ["mean cosine of nan", "only 50.0%"]),
    ],
)
def test_what_is_in_doubt(cosine, overlap, said):
    doubts = audited(cosine, overlap).doubts
    assert len(doubts) == len(said)
    assert all(start in doubt for start, doubt in zip(said, doubts, strict=True))


@pytest.mark.parametrize("preset", ["balanced", "safe"])
def test_a_doubt_is_a_warning_with_what_to_do(clips, monkeypatch, preset):
    def doubted(loaded, paths, config, *given, on_clip, log):
        on_clip(audited(0.5, 0.5))
        return {"clips": []}

    monkeypatch.setattr("sharpv.bench.audit.run", doubted)
    result = invoke(clips["moving"], "--vision-reuse", preset)
    assert result.exit_code == 0, result.output
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: a.mp4: ")]
    assert len(warnings) == 2
    remedy = command.TRY_SAFE if preset == "balanced" else command.LEAVE_OFF
    assert all(line.endswith(remedy) for line in warnings)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ([], 2, "CLIP"),
        (["nowhere.mp4"], 1, "nowhere.mp4"),
        (["{moving}", "--audit", "0"], 2, "--audit"),
        (["{moving}", "--frames", "4", "--fps", "2"], 2, "--fps"),
        (["{moving}", "--vision-reuse", "most"], 2, "--vision-reuse"),
        (["{moving}", "--retention", "2"], 2, "retention"),
        (["{moving}", "--config", "{off}"], 2, "nothing to audit"),
        (["{moving}", "-o", "nowhere/else.json"], 2, "nowhere"),
    ],
)
def test_mistakes_are_said_early(clips, tmp_path, options, code, said):
    off = tmp_path / "off.yaml"
    off.write_text("vision_reuse: null\n")
    result = invoke(*(option.format(**clips, off=off) for option in options))
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())


def test_a_model_whose_tower_cannot_is_refused(clips, model_folder):
    result = invoke(clips["moving"], *FRAMES, "-m", model_folder("smolvlm"))
    assert result.exit_code == 1
    assert "reuses no patches" in result.stderr


def test_a_configuration_that_audits_nothing_is_refused():
    with pytest.raises(InputError, match="audit of at least 1"):
        run(None, ["a.mp4"], SharpVConfig(vision_reuse="balanced"), Sampling(frames=2))
