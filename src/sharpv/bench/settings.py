"""What the records of one run share: a run goes on only where all of it is the same."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import torch

from sharpv.bench.spec import AccuracySpec
from sharpv.hf.ask import VideoModel
from sharpv.shapesqa import Sample

__all__ = ["fingerprint", "of_model", "settings"]

CHUNK_BYTES = 64 << 20


def settings(
    loaded: VideoModel, spec: AccuracySpec, samples: Sequence[Sample], place: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns whatever can change an answer, as plain JSON values.

    The commit is left out: most commits change no answer, and a long run should survive a corrected comment.
    The summary names that of the last start.

    Args:
        loaded: the model.
        spec: what is asked.
        samples: the clips and questions drawn for it.
        place: from `where`.
    """
    asked = [
        (sample.name, question.text, question.answer) for sample in samples for question in sample.questions
    ]
    return spec.to_dict() | {"questions": f"{crc32(repr(asked).encode()):08x}"} | of_model(loaded, place)


def of_model(loaded: VideoModel, place: Mapping[str, Any]) -> dict[str, Any]:
    """Returns whatever of a model and a machine can change an answer, as plain JSON values.

    Args:
        loaded: the model.
        place: from `where`.
    """
    model, config = loaded.model, loaded.model.config
    parts = {"model": config} | {name: getattr(config, name) for name in config.sub_configs}
    template = repr(loaded.processor.chat_template)
    return {
        "weights": fingerprint(loaded),
        "dtype": str(model.dtype).removeprefix("torch."),
        # A part that a model does without, such as Gemma 4's audio, has no configuration.
        "attention": {name: part._attn_implementation for name, part in parts.items() if part is not None},
        "chat_template": hashlib.sha256(template.encode()).hexdigest()[:16],
        "device": model.device.type,
        "device_name": place["device_name"],
        "versions": place["versions"],
    }


def fingerprint(loaded: VideoModel) -> str:
    """Returns a short name of a model's weights: of every bit of them, and of their names and shapes."""
    digest = hashlib.sha256()
    for name, weight in sorted(loaded.model.named_parameters()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        for chunk in weight.detach().flatten().view(torch.uint8).split(CHUNK_BYTES):
            digest.update(chunk.cpu().numpy())
    return digest.hexdigest()[:16]
