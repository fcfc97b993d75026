"""The encoder of videos of one model instance with reuse: videos are planned apart, and go in one pass."""

import functools
import inspect
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from sharpv.config import SharpVConfig, VisionReuse
from sharpv.core import ReusePlan, plan_reuse
from sharpv.errors import InputError
from sharpv.hf import pllava
from sharpv.hf.families import Family
from sharpv.hf.features import covered, flatten
from sharpv.hf.layout import VideoLayout
from sharpv.hf.reuse.audit import audit, audited_frames, with_predecessors
from sharpv.hf.reuse.levels import Normalization, find_normalization
from sharpv.hf.reuse.supported import reusable_tower
from sharpv.hf.turns import changing
from sharpv.methods import InLLMPruner, TokenPruner, needs_attention
from sharpv.report import ReuseAudit, ReuseReport, VideoReport

__all__ = ["Encoded", "Planner", "Reuse", "reuse_for"]

logger = logging.getLogger(__name__)

Planner = Callable[[Tensor, int, VisionReuse, int], ReusePlan]
"""What decides which patches are encoded, with the arguments of `sharpv.core.plan_reuse`."""

IN_TRAINING = "the vision tower is in training"
UNKNOWN_LEVELS = (
    "no known normalisation makes levels of 0..255 of the pixels, whole ones as far as their dtype can tell: "
    "say what the processor does by VisionReuse(image_mean=..., image_std=...)"
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """How one video was encoded.

    Attributes:
        plan: of its patches; None where none was made.
        dense: why it was encoded as if there were no reuse; None where it was not.
        grid: (rows, columns) of a frame's patches; None where the video was not looked at.
        milliseconds: that planning took.
        audit: what reuse changed, where that was measured.
    """

    plan: ReusePlan | None
    dense: str | None
    grid: tuple[int, int] | None = None
    milliseconds: float = 0.0
    audit: ReuseAudit | None = None

    def source(self, frames: int) -> Tensor:
        """Returns the frames that serve its patches, `[frames, patches]`: without reuse, their own."""
        if self.plan is not None and self.dense is None:
            return self.plan.source
        rows, columns = self.grid or (0, 0)
        return torch.arange(frames).unsqueeze(1).expand(-1, rows * columns)

    def report(self) -> ReuseReport:
        """Returns the record of it."""
        computed: tuple[tuple[bool, ...], ...] = ()
        if self.plan is not None:
            source = self.source(len(self.plan.source))
            computed = tuple(map(tuple, ReusePlan(source).computed.tolist()))
        return ReuseReport(
            computed=computed,
            grid=self.grid if computed else None,
            plan_milliseconds=self.milliseconds,
            fallback=self.dense,
            audit=self.audit,
        )


def reuse_for(
    base: PreTrainedModel, family: Family, config: SharpVConfig, pruner: TokenPruner | InLLMPruner
) -> "Reuse | None":
    """Returns what reuses patches in requests of a model; None where the configuration wants none.

    Raises:
        UnsupportedModelError: a vision tower that cannot.
        InputError: a method that looks at the tower's attention, which is not known where nothing is
            computed.
    """
    if config.reuse is None or not family.shows_video(config):
        return None
    if needs_attention(pruner):
        raise InputError(
            f"got vision_reuse with method {pruner.name!r}, which looks at the attention of the vision "
            "tower, and patches that are not computed have none: set vision_reuse=None, or choose a method "
            "that looks at features alone, such as vidcom2"
        )
    return Reuse(base, family, config, config.reuse, pruner)


class Reuse:
    """Vision reuse on one model instance.

    Only videos that a request expects are encoded in a packed pass; every other call of the encoder gets the
    original one.

    Attributes:
        videos: how the videos of the running request were encoded, in order; empty before the encoder ran.
    """

    def __init__(
        self,
        base: PreTrainedModel,
        family: Family,
        config: SharpVConfig,
        settings: VisionReuse,
        pruner: TokenPruner | InLLMPruner,
        planner: Planner = plan_reuse,
    ) -> None:
        self.base = base
        self.family = family
        self.config = config
        self.settings = settings
        self.pruner = pruner
        self.planner = planner
        self.tower, self.way = reusable_tower(base, family)
        pools = getattr(base.config, "spatial_pool_mode", None) == "pllava"
        self._least = pllava.FRAMES if pools else 1
        self._given = None
        if settings.image_mean is not None and settings.image_std is not None:
            self._given = Normalization(settings.image_mean, settings.image_std)
        self.videos: tuple[Encoded, ...] = ()
        self._expected: Sequence[VideoLayout] = ()
        self._thread: int | None = None

    def expect(self, layouts: Sequence[VideoLayout]) -> None:
        """Says which videos the next calls of the encoder in this thread are given; none ends a request."""
        self.videos, self._expected, self._thread = (), layouts, get_ident()

    def told(self, records: Sequence[VideoReport]) -> tuple[VideoReport, ...]:
        """Returns the records of the request's videos, with how they were encoded if they were."""
        if not self.videos:
            return tuple(records)
        pairs = zip(records, self.videos, strict=True)
        return tuple(replace(record, reuse=video.report()) for record, video in pairs)

    @contextmanager
    def covering(self) -> Iterator[None]:
        """Within the block, the encoder of this instance is the one with reuse."""
        encode = getattr(self.base, self.family.encoder)
        signature = inspect.signature(encode)

        @functools.wraps(encode)
        def encode_reusing(*args: Any, **given: Any) -> Any:
            if not self._expected or self._thread != get_ident():
                return encode(*args, **given)
            call = signature.bind_partial(*args, **given).arguments
            call |= call.pop("kwargs", {})
            if self.tower.training:
                self.videos = (Encoded(None, IN_TRAINING),) * len(self._expected)
                return encode(*args, **given)
            videos = self.way.frames(self.tower, call, self._expected)
            self.videos = tuple(map(self._plan, videos))
            if all(video.dense for video in self.videos):
                return encode(*args, **given)
            sources = [video.source(len(frames)) for frames, video in zip(videos, self.videos, strict=True)]
            with changing(self.base), self.way.packed(self.tower, call, sources):
                encoded = encode(*args, **given)
            if self.settings.audit and isinstance(encoded, ModelOutput):
                self._audit(encode, call, encoded)
            return encoded

        with covered(self.base, self.family, encode_reusing):
            yield

    @torch.no_grad()
    def _audit(self, encode: Callable[..., Any], call: Mapping[str, Any], encoded: Any) -> None:
        """Encodes a few frames of each video in full, and notes what reuse has changed in them."""
        layouts = self._expected
        features = flatten(encoded, sum(layout.tokens for layout in layouts))
        parts = features.split([layout.tokens for layout in layouts])
        audited = []
        for number, (video, layout) in enumerate(zip(self.videos, layouts, strict=True)):
            frames: list[int] = []
            if video.plan is not None and video.dense is None:
                frames = audited_frames(video.plan, self.settings.audit)
                whole = with_predecessors(video.plan, frames)
            if frames:
                # PLLaVA's projector pools whole clips.
                shown = whole + whole[-1:] * (-len(whole) % self._least)
                alone = encode(**self.way.part(call, layouts, number, shown) | {"return_dict": True})
                tokens = layout.tokens_per_frame
                dense = flatten(alone, len(shown) * tokens + layout.separators)[: len(whole) * tokens]
                reused = parts[number][: layout.frames * tokens].unflatten(0, (layout.frames, tokens))
                found = audit(
                    reused,
                    dense.unflatten(0, (len(whole), tokens)),
                    whole,
                    frames,
                    layout,
                    self.config,
                    self.pruner,
                )
                video = replace(video, audit=found)
            audited.append(video)
        self.videos = tuple(audited)

    @torch.no_grad()
    def _plan(self, frames: Tensor) -> Encoded:
        """Plans one video of frames `[n, 3, H, W]`, or of several source frames each."""
        start = time.perf_counter()
        unit, patch = self.way.sides(self.tower)
        grid = (frames.shape[-2] // unit, frames.shape[-1] // unit)
        normalization = find_normalization(frames, self.way.normalization, self._given)
        if normalization is None:
            logger.warning("vision_reuse: %s", UNKNOWN_LEVELS)
            return Encoded(None, UNKNOWN_LEVELS, grid)
        levels = normalization.levels(frames).clamp_(0, 255)
        plan = self.planner(levels, unit, self.settings, patch)
        plan = ReusePlan(plan.source.cpu())
        milliseconds = (time.perf_counter() - start) * 1e3
        return Encoded(plan, plan.reason_for_dense(self.settings), grid, milliseconds)
