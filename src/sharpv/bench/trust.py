"""What has to hold before a time is worth measuring."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sharpv.bench.latency_spec import LatencySpec
from sharpv.bench.phases import preprocess, read_clip
from sharpv.bench.reuse import RandomPatches, reuse_of, reusing
from sharpv.config import SharpVConfig
from sharpv.hf.ask import VideoModel
from sharpv.hf.attach import attach
from sharpv.hf.families import Family, require_family
from sharpv.hf.features import encode_video
from sharpv.report import VideoReport

__all__ = ["require_exact_idle", "require_exact_reuse", "require_kept", "require_kv_bytes"]

FEW_FRAMES = 4
FEW_TOKENS = 3
DROP_NOWHERE = -1.0
REUSE_ERROR, REUSE_COSINE = 1e-5, 0.9999
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


@torch.no_grad()
def require_exact_reuse(loaded: VideoModel, path: str, spec: LatencySpec) -> dict[str, Any]:
    """Compares the features of a few frames with those of a packed pass in which every patch has changed.

    Args:
        loaded: the model.
        path: of the clip.
        spec: of the run, with `vision_reuse`.

    Returns:
        What was compared, for the result; nothing where the run reuses no patches.

    Raises:
        RuntimeError: in float32 a feature differs by more than 1e-5 of the largest; else the cosine of a
            token is below .9999.
    """
    if spec.config.reuse is None:
        return {}
    model, family = loaded.model, require_family(loaded.model.config.model_type)
    frames = min(spec.frames, FEW_FRAMES)
    inputs = preprocess(loaded, read_clip(path, frames), spec.questions)
    reuse = reuse_of(model, replace(spec.config.reuse, max_share=1.0), RandomPatches(1.0))
    dense = _features(model, family, inputs)
    with reusing(model, inputs, reuse):
        packed = _features(model, family, inputs)
    if any(video.dense for video in reuse.videos):
        raise RuntimeError(f"vision reuse does not work here: {reuse.videos[0].dense}")
    error = float((packed - dense).abs().max() / dense.abs().max())
    # A separator may be zeros, as that of random weights is, and has no direction.
    same = (packed == dense).all(-1)
    cosine = float(cosine_similarity(packed, dense, dim=-1).masked_fill(same, 1.0).min())
    exact = error <= REUSE_ERROR if model.dtype == torch.float32 else cosine >= REUSE_COSINE
    if not exact:
        raise RuntimeError(
            f"a packed pass with every patch of {frames} frames is not the vision tower of {loaded.name} "
            f"(largest error {error:.1e}, smallest cosine {cosine:.6f}): {NOT_WORTH_IT}"
        )
    return {"reuse_error": error, "reuse_cosine": cosine, "reuse_frames": frames}


def _features(model: Any, family: Family, inputs: Mapping[str, Any]) -> Tensor:
    """Returns the features of all videos `[tokens, d]` in float32."""
    pooled = encode_video(model.base_model, family, inputs)[0].pooler_output
    videos = [pooled] if isinstance(pooled, Tensor) else pooled
    return torch.cat([video.flatten(0, -2) for video in videos]).float()


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
