"""A health check of every family on this machine: a tiny random model of it, dense and pruned."""

import time
from dataclasses import dataclass

import numpy as np
import torch
from transformers import GenerationConfig

from sharpv.config import SharpVConfig
from sharpv.errors import UnsupportedModelError
from sharpv.hf.ask import build_inputs
from sharpv.hf.attach import attach
from sharpv.hf.families import FAMILIES, require_release
from sharpv.tiny.clip import moving_square
from sharpv.tiny.random import RANDOM_MODELS
from sharpv.video import Video

__all__ = ["FamilyCheck", "check_family", "run_check"]

NEW_TOKENS = 4
DROP_NOWHERE, DROP_EVERYWHERE = -1.0, 2.0


@dataclass(frozen=True, slots=True)
class FamilyCheck:
    """What the check of one family found.

    Attributes:
        model_type: of the family.
        exact_off: whether a session whose stages drop nothing gave bit for bit the dense tokens and logits.
        tokens_total: video tokens of the clip.
        tokens_kept: of these, what the default configuration kept.
        cache_bytes: of the pruned run, with every layer giving up its video.
        dense_cache_bytes: of the dense run.
        seconds: of the whole check.
        error: what went wrong, or None.
        skipped: what the family needs and this machine lacks, or None.
    """

    model_type: str
    exact_off: bool = False
    tokens_total: int = 0
    tokens_kept: int = 0
    cache_bytes: int = 0
    dense_cache_bytes: int = 0
    seconds: float = 0.0
    error: str | None = None
    skipped: str | None = None

    @property
    def ok(self) -> bool:
        """Whether pruning works here."""
        pruned = self.tokens_kept < self.tokens_total and self.cache_bytes < self.dense_cache_bytes
        return self.error is None and self.exact_off and pruned


def check_family(model_type: str, device: str = "cpu") -> FamilyCheck:
    """Does `run_check`, and reports what breaks instead of raising it."""
    try:
        return run_check(model_type, device)
    except Exception as error:  # whatever breaks is what the check is there to say
        reason = str(error).strip().split("\n")[0]
        return FamilyCheck(model_type, error=f"{type(error).__name__}: {reason}")


def run_check(model_type: str, device: str = "cpu") -> FamilyCheck:
    """Runs a family's tiny random model on a made clip: dense, with nothing dropped, and pruned.

    Args:
        model_type: one of `FAMILIES`.
        device: where to run.
    """
    started = time.perf_counter()
    try:
        require_release(FAMILIES[model_type])
        model, processor = RANDOM_MODELS[model_type](image_size=112)
    except (ImportError, UnsupportedModelError) as error:
        return FamilyCheck(model_type, skipped=" ".join(str(error).split()))
    model = model.to(device)
    clip, numbers = moving_square(frames=8, height=112, width=112), np.arange(8)
    video = Video(clip, numbers / 4.0, numbers, total_frames=8, fps=4.0, duration=2.0)
    inputs = build_inputs(processor, video, "What moves?").to(device)
    options = GenerationConfig(
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
        pad_token_id=model.generation_config.pad_token_id,
    )
    dense = model.generate(**inputs, generation_config=options)
    with attach(model, SharpVConfig(retention=1.0, memory_threshold=DROP_NOWHERE, images_as_frames=True)):
        off = model.generate(**inputs, generation_config=options)
    with attach(model, SharpVConfig(memory_threshold=DROP_EVERYWHERE, images_as_frames=True)) as session:
        model.generate(**inputs, generation_config=options)
        report = session.reports[-1]
    return FamilyCheck(
        model_type,
        exact_off=torch.equal(dense.sequences, off.sequences)
        and all(map(torch.equal, dense.logits, off.logits)),
        tokens_total=report.tokens_total,
        tokens_kept=report.tokens_kept,
        cache_bytes=report.cache_bytes or 0,
        dense_cache_bytes=report.dense_cache_bytes or 0,
        seconds=time.perf_counter() - started,
    )
