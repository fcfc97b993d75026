"""What one request has gathered on its way through the model, and the report made of it."""

import time
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from sharpv._compat import versions
from sharpv.config import SharpVConfig
from sharpv.hf.cache import cache_bytes, dense_cache_bytes
from sharpv.hf.layout import VideoLayout
from sharpv.report import LayerReport, Milliseconds, Report, VideoReport

__all__ = ["Request", "Stopwatch"]


class Stopwatch:
    """Wall-clock milliseconds since the last lap, the queues of the accelerators included."""

    def __init__(self, model: nn.Module) -> None:
        devices = {weight.device for weight in model.parameters()}
        self._devices = [device for device in devices if device.type == "cuda"]
        self._since = 0.0
        self.lap()

    def lap(self) -> float:
        """Returns the milliseconds since the last lap, and starts the next."""
        for device in self._devices:
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        passed = (now - self._since) * 1e3
        self._since = now
        return passed


@dataclass
class Request:
    """One `generate()`, or one bare `forward()` over a prompt with video.

    Attributes:
        watch: times the phases.
        layouts: videos that stage 1 has yet to prune inside the model; None when the prompt came shortened.
        expected_tokens: video placeholders of the prompt that the model will be fed, unless rows are
            repeated.
        shortened: whether the prompt was shortened before the model, so that its position ids have gaps.
        bare: whether it is one forward pass of the caller's own.
        hidden_columns: columns of the prompt that were cut before the model, and that its cache does not
            count.
        cache: the cache that the prompt was read into.
    """

    watch: Stopwatch
    layouts: list[VideoLayout] | None = None
    expected_tokens: int = 0
    shortened: bool = False
    bare: bool = False
    hidden_columns: int = 0
    cache: Cache | None = None
    prompt_tokens: tuple[int, ...] = ()
    prompt_tokens_kept: tuple[int, ...] = ()
    videos: tuple[VideoReport, ...] = ()
    layers: list[LayerReport] = field(default_factory=list)
    cache_bytes: int | None = None
    dense_cache_bytes: int | None = None
    milliseconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def enter_decoder(self) -> None:
        """Starts timing the decoder's first pass; a bare forward pass has run its vision tower by then."""
        if "prefill" not in self.milliseconds:
            lap = self.watch.lap()
            if self.bare and self.layouts is not None:
                self.milliseconds["vision"] = lap

    def leave_decoder(self, cache: Cache | None) -> None:
        """Takes the time and the bytes of the cache after the decoder's first pass."""
        if "prefill" in self.milliseconds:
            return
        self.milliseconds["prefill"] = self.watch.lap()
        self.cache = cache
        if cache is not None:
            self.cache_bytes = cache_bytes(cache)
            self.dense_cache_bytes = dense_cache_bytes(cache, self.hidden_columns)

    def report(self, model: PreTrainedModel, config: SharpVConfig, method: str) -> Report:
        """Returns the record of the request."""
        return Report(
            model=model.config.model_type,
            config=config,
            method=method,
            prompt_tokens=self.prompt_tokens,
            prompt_tokens_kept=self.prompt_tokens_kept,
            videos=self.videos,
            layers=tuple(self.layers),
            cache_bytes=self.cache_bytes,
            dense_cache_bytes=self.dense_cache_bytes,
            milliseconds=Milliseconds(**self.milliseconds),
            notes=tuple(self.notes),
            versions=versions(),
        )
