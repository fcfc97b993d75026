"""What has to hold before a time is worth measuring."""

from collections.abc import Sequence
from typing import Any

import torch

from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.phases import preprocess, read_clip
from sharpv.config import SharpVConfig
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.report import VideoReport

__all__ = ["require_exact_idle", "require_kept", "require_kv_bytes"]

FEW_FRAMES = 4
FEW_TOKENS = 3
DROP_NOWHERE = -1.0
NOT_WORTH_IT = "no time of it is worth measuring; please report this"


def require_exact_idle(loaded: VideoModel, path: str, spec: LatencySpec) -> dict[str, Any]:
    """Compares the dense model with SharpV attached and dropping nothing, on a few frames.

    Once switched off, where the request reaches the model as it is, and once with both stages at work.

    Args:
        loaded: the model.
        path: of the clip.
        spec: of the run; its batch is used.

    Returns:
        What was compared, for the result.

    Raises:
        RuntimeError: one token or logit differs, or is not finite.
    """
    model = loaded.model
    frames = min(spec.frames, FEW_FRAMES)
    inputs = preprocess(loaded, read_clip(path, frames), spec.questions)
    options: dict[str, Any] = {
        "max_new_tokens": FEW_TOKENS,
        "min_new_tokens": FEW_TOKENS,
        "do_sample": False,
        "return_dict_in_generate": True,
        "output_logits": True,
    }
    dense = model.generate(**inputs, **options)
    if not all(bool(logits.isfinite().all()) for logits in dense.logits):
        raise RuntimeError(f"{loaded.name} gives logits that are not finite: try another --dtype")
    for threshold in (None, DROP_NOWHERE):
        config = SharpVConfig(retention=1.0, memory_threshold=threshold, images_as_frames=True)
        with attach(model, config):
            attached = model.generate(**inputs, **options)
        pairs = [(dense.sequences, attached.sequences), *zip(dense.logits, attached.logits, strict=True)]
        if not all(torch.equal(one, other) for one, other in pairs):
            raise RuntimeError(
                f"SharpV that drops nothing is not exactly the dense {loaded.name} on {frames} frames: "
                f"{NOT_WORTH_IT}, with the output of `sharpv doctor`"
            )
    return {"idle_exact": True, "frames": frames, "tokens": FEW_TOKENS}


def require_kept(method: str, videos: Sequence[VideoReport], spec: LatencySpec) -> None:
    """Checks what a timed request kept.

    Raises:
        RuntimeError: not what was asked.
    """
    for video in videos:
        if not spec.kept_as_asked(method, video):
            asked = spec.budget(method, video.frames, video.tokens_per_frame)
            raise RuntimeError(
                f"{method} kept {video.tokens_kept} of {video.tokens_total} tokens where retention="
                f"{spec.config.retention!r} asks for {asked or 'its ratios'}: {NOT_WORTH_IT}"
            )
    if not videos:
        raise RuntimeError(f"{method} saw no video in the request: {NOT_WORTH_IT}")


def require_kv_bytes(side: str, held: int, predicted: int) -> None:
    """Checks the bytes of keys and values after a timed prefill.

    Raises:
        RuntimeError: not as many as predicted.
    """
    if held != predicted:
        raise RuntimeError(
            f"{side} holds {held:,} bytes of keys and values where its tokens take {predicted:,}: "
            f"{NOT_WORTH_IT}"
        )
