"""`sharpv ask` on sound clips: counts, families, options, and what goes where."""

from dataclasses import asdict

import numpy as np
import pytest
from transformers import AutoProcessor

from sharpv import VisionReuse
from sharpv._compat import installed_transformers
from sharpv.hf.ask import build_inputs
from sharpv.hf.families import FAMILIES
from sharpv.tiny.clip import moving_square
from sharpv.video import Video, write_video
from tests.cli.asking import SHORT, ask, check_truth, refuse, run
from tests.hf.conftest import NEEDS


def test_every_real_clip(real_clip, model):
    path, total = real_clip
    found = ask(path, model, "--frames", 8)
    assert found["video"]["total_frames"] == total
    check_truth(found, frames=8)
    assert found["report"]["tokens_kept"] < found["report"]["tokens_total"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_family_from_a_folder(family, model_folder, clip):
    if family in NEEDS:
        pytest.importorskip(NEEDS[family])
    since = FAMILIES[family].since
    if since is not None and installed_transformers() < since:
        assert " supports >= " in refuse("ask", clip, "What?", "-m", model_folder(family))
        return
    found = ask(clip, model_folder(family), "--frames", 6)
    assert found["report"]["model"] == family
    assert found["report"]["tokens_kept"] < found["report"]["tokens_total"]
    assert found["model"] == str(model_folder(family))


def test_one_frame(tmp_path, model):
    write_video(moving_square(frames=1, height=96, width=128), tmp_path / "one.mp4", fps=6)
    check_truth(ask(tmp_path / "one.mp4", model), frames=1)


def test_identical_frames_keep_the_minimum(tmp_path, model):
    still = np.repeat(moving_square(frames=1, height=96, width=128), 6, axis=0)
    write_video(still, tmp_path / "still.mp4", fps=6)
    found = ask(tmp_path / "still.mp4", model)
    check_truth(found, frames=6)
    assert [sum(frame) for frame in found["report"]["videos"][0]["kept"]][1:] == [1] * 5


def test_a_clip_shorter_than_asked(tmp_path, model):
    write_video(moving_square(frames=3, height=96, width=128), tmp_path / "three.mp4", fps=6)
    found = ask(tmp_path / "three.mp4", model, "--frames", 32)
    check_truth(found, frames=3)
    assert found["video"]["indices"] == [0, 1, 2]


def test_dense_reads_everything(clip, model):
    found = ask(clip, model, "--frames", 6, "--dense")
    check_truth(found, frames=6)
    assert found["report"]["tokens_kept"] == found["report"]["tokens_total"]
    assert found["report"]["cache_bytes"] == found["report"]["dense_cache_bytes"]


def test_the_options_reach_the_configuration(clip, model, tmp_path):
    found = ask(clip, model, "--frames", 6, "--retention", 0.25, "--coverage", 0.5, "--no-memory")
    assert found["report"]["tokens_kept"] == round(0.25 * 6 * 16)
    assert found["report"]["layers"] == []
    found = ask(clip, model, "--frames", 6, "--retention", 0.25, "--bucket", 32)
    assert found["report"]["tokens_kept"] == found["report"]["config"]["bucket"] == 32
    found = ask(clip, model, "--frames", 2, "--vision-reuse", "safe")
    assert found["report"]["config"]["vision_reuse"]["max_age"] == 8
    (tmp_path / "reuse.yaml").write_text("vision_reuse:\n  threshold: 8\n  max_age: null\n")
    found = ask(clip, model, "--frames", 2, "--config", tmp_path / "reuse.yaml")
    assert found["report"]["config"]["vision_reuse"] == asdict(VisionReuse(threshold=8))
    assert ask(clip, model, "--fps", 2)["video"]["frames"] == 4
    assert ask(clip, model, "--threshold", 0)["report"]["tokens_kept"] == 12 * 16
    (tmp_path / "run.yaml").write_text("retention: 0.5\nmemory_threshold: 2.0\n")
    found = ask(clip, model, "--config", tmp_path / "run.yaml", "--retention", 0.25)
    assert found["report"]["tokens_kept"] == round(0.25 * 12 * 16)
    assert all(layer["dropped"] == [True] for layer in found["report"]["layers"])
    assert (
        ask(clip, model, "--dtype", "bfloat16")["report"]["dense_cache_bytes"] * 2
        == (ask(clip, model, "--dtype", "float32")["report"]["dense_cache_bytes"])
    )


def test_the_answer_goes_to_stdout_and_the_counts_to_stderr(clip, model):
    result = run("ask", clip, "What moves?", "-m", model, "--frames", 4, *SHORT)
    assert "reading the video" in result.stderr
    assert "of 64 video tokens" in result.stderr
    assert "video tokens" not in result.stdout


def test_times_and_rate_reach_the_model(clip, model_folder):
    """Qwen2.5-VL spaces its time axis by them."""
    processor = AutoProcessor.from_pretrained(model_folder("qwen2_5_vl"))
    frames = moving_square(frames=4, height=112, width=112)
    for rate, indices, seconds in (
        (4.0, [0, 1, 2, 3], 0.5),
        (4.0, [0, 4, 8, 12], 2.0),
        (8.0, [0, 4, 8, 12], 1.0),
    ):
        video = Video(
            frames, np.array(indices) / rate, np.array(indices), indices[-1] + indices[1], rate, None
        )
        found = build_inputs(processor, video, "What?")["second_per_grid_ts"]
        assert float(found[0]) == pytest.approx(seconds)
