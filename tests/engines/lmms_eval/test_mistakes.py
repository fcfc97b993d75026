"""What the user got wrong, told before a model is loaded."""

import json

import pytest

from tests.engines.lmms_eval.test_runs import BASES


@pytest.fixture
def folder(tmp_path):
    """A checkpoint without weights: what is told of it is told before it is loaded."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llava_onevision"}))
    return tmp_path


def test_the_command_fails(command, folder):
    done = command(f"base=llava_hf,pretrained={folder},sharpv_retention=2", "few")
    assert done.returncode == 1
    assert "retention is 2: it must be 'adaptive' or a number in (0, 1]" in done.stderr


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ("pretrained={}", "model_args name no base: add base=, one of llava_hf, qwen2_vl"),
        ("base=openai,pretrained={}", "got base=openai, which was not run with SharpV: give llava_hf, qwen2"),
        ("base=sharpv,pretrained={}", "got base=sharpv, which was not run with SharpV"),
        ("base=llava_hf,pretrained", "got model_args 'base=llava_hf,pretrained': give name=value"),
        ("base=llava_hf", "name no checkpoint: add pretrained="),
        (
            "base=llava_hf,pretrained={},max_num_frames=8",
            "max_num_frames: the base takes .*max_fr",
        ),
        (
            "base=qwen3_5,pretrained={},frames=8",
            "frames: the base takes .*max_num_fr.*device",
        ),
        ("base=llava_hf,pretrained={},simple=True", "got model_args simple"),
        ("base=qwen2_5_vl,pretrained={}", "type 'llava_onevision' for base=qwen2_5_vl, .* with qwen2_5_vl"),
        ("base=llava_hf,pretrained={},sharpv_method=best", "got method 'best': it must be one of sharpv"),
        ("base=llava_hf,pretrained={}/none", "cannot read the config.json of"),
    ],
)
def test_it_is_told_before_the_model_is_loaded(evaluate, folder, args, named):
    from sharpv.engines.lmms_eval.model import RunFailed  # noqa: PLC0415

    with pytest.raises(RunFailed, match=named):
        evaluate(args.format(folder), "few")


@pytest.mark.parametrize(
    ("family", "more", "options", "named"),
    [
        ("llava_onevision", "max_frames_num=0", {}, "got max_frames_num=0: frames=0"),
        ("llava_onevision", "", {"batch_size": 2}, "Do not support batch_size_per_gpu > 1"),
        ("internvl", "fps=2", {}, "got fps=2: .* give num_frames"),
    ],
)
def test_what_a_base_cannot_do_is_not_ignored(evaluate, checkpoint, family, more, options, named):
    from sharpv.engines.lmms_eval.model import RunFailed  # noqa: PLC0415

    base = BASES[family].split(",")[0]
    with pytest.raises(RunFailed, match=named):
        evaluate(f"{base},pretrained={checkpoint(family)},{more}".strip(","), "few", **options)
