"""What the models of lmms-eval are built with."""

import pytest
import torch


@pytest.mark.parametrize(
    ("base", "device", "expected"),
    [
        ("llava_hf", None, "cuda"),
        ("llava_hf", "cuda:1", "cuda:1"),
        # They would put the model where there is room, whatever device is asked for.
        ("qwen2_5_vl", "cpu", "cpu"),
        ("qwen2_vl", "cuda:1", "cuda:1"),
        ("qwen2_5_vl", "cuda", None),
        ("qwen2_5_vl", None, None),
    ],
)
def test_the_model_goes_to_the_device_that_is_asked_for(lmms_eval, monkeypatch, base, device, expected):
    from lmms_eval.models import get_model  # noqa: PLC0415

    from sharpv.engines.lmms_eval.bases import arguments  # noqa: PLC0415

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    given = {"pretrained": "any"} | ({} if device is None else {"device": device})
    assert arguments(get_model(base), given).get("device_map") == expected
