"""What one request has gathered on its way through the model, and the report made of it."""

from dataclasses import dataclass, field

from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from sharpv._compat import versions
from sharpv.config import SharpVConfig
from sharpv.hf.cache import cache_bytes, dense_cache_bytes
from sharpv.hf.layout import VideoLayout
from sharpv.hf.stopwatch import Stopwatch
from sharpv.report import LayerReport, Milliseconds, Report, VideoReport

__all__ = ["Request"]


@dataclass
class Request:
    """One `generate()`, or one bare `forward()` over a prompt with video.

    Attributes:
        watch: times the phases.
        layouts: videos that the model is to encode itself, and stage 1 to prune inside it; None when the
            prompt came shortened.
        expected_tokens: video placeholders of the prompt that the model will be fed, unless rows are
            repeated.
        shortened: whether the prompt was shortened before the model, so that its position ids have gaps.
        bare: whether it is one forward pass of the caller's own.
        hidden_columns: columns of the prompt that were cut before the model, and that its cache does not
            count.
        cache: the cache that the prompt was read into.
        stayed: bool `[tokens]` on the host, which tokens of the videos stayed inside the LLM; None before a
            method chose.
        left_before: decoder layer before which the others left; None where none did.
    """

    watch: Stopwatch
    layouts: list[VideoLayout] | None = None
    expected_tokens: int = 0
    shortened: bool = False
    bare: bool = False
    hidden_columns: int = 0
    cache: Cache | None = None
    stayed: Tensor | None = None
    left_before: int | None = None
    prompt_tokens: tuple[int, ...] = ()
    prompt_tokens_kept: tuple[int, ...] = ()
    videos: tuple[VideoReport, ...] = ()
    layers: list[LayerReport] = field(default_factory=list)
    cache_bytes: int | None = None
    dense_cache_bytes: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def prefilled(self) -> bool:
        """Whether the decoder's first pass is over."""
        return self.watch.saw("prefill")

    def enter_decoder(self) -> None:
        """Starts timing the decoder's first pass; frames that the model was given are encoded by then."""
        if not self.prefilled:
            self.watch.lap("vision" if self.layouts is not None else None)

    def leave_decoder(self, cache: Cache | None) -> None:
        """Takes the time and the bytes of the cache after the decoder's first pass."""
        if self.prefilled:
            return
        self.watch.lap("prefill")
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
            layer_tokens=self._layer_tokens(len(model.get_decoder().layers)),
            cache_bytes=self.cache_bytes,
            dense_cache_bytes=self.dense_cache_bytes,
            milliseconds=Milliseconds(**self.watch.milliseconds()),
            notes=tuple(self.notes),
            versions=versions(),
        )

    def _layer_tokens(self, layers: int) -> tuple[int, ...]:
        """Returns the tokens of all videos that each decoder layer read."""
        if not self.videos:
            return ()
        first = layers if self.left_before is None else self.left_before
        entered = sum(video.tokens_kept for video in self.videos)
        stayed = sum(sum(map(sum, video.kept_inside or ())) for video in self.videos)
        return (entered,) * first + (stayed,) * (layers - first)
