"""SharpV as a model of lmms-eval: `--model sharpv --model_args base=llava_hf,pretrained=...,sharpv_...`."""

from typing import Any

__all__ = ["manifests"]


def manifests() -> list[Any]:
    """Returns what lmms-eval's entry point `lmms_eval.models` takes; only lmms-eval calls it."""
    from lmms_eval.models.registry_v2 import ModelManifest  # noqa: PLC0415

    return [ModelManifest(model_id="sharpv", chat_class_path=f"{__name__}.model.SharpV")]
