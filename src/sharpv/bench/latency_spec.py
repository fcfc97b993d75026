"""What a latency run times, and how many tokens it has to keep."""

from dataclasses import dataclass, fields, replace
from math import ceil
from typing import Any

from sharpv.config import SharpVConfig
from sharpv.core.select import RATIO_TOLERANCE
from sharpv.methods import BEFORE_LLM, needs_attention
from sharpv.report import VideoReport

__all__ = ["LatencySpec"]

DEFAULT_CONFIG = SharpVConfig(retention=0.12, memory_threshold=None)
QUESTION = "What happens in this video?"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySpec:
    """What is timed.

    Attributes:
        frames: read from the clip, at least 1.
        batch: rows of the request, each with the whole clip, at least 1.
        methods: at least one of `sharpv.methods.BEFORE_LLM`, each once: what is predicted and checked is the
            number of tokens that enter the LLM.
        config: what each of them keeps, by `retention`. The default is 12 % of the tokens and no stage 2: the
            hidden states of random weights do not say which layers have lost sight of the video. With its
            `vision_reuse`, each method is timed with that, too; its `audit` has to be 0.
        repeats: timed rounds, at least 1, and 7 for a figure to publish.
        new_tokens: tokens to generate, at least 1.
        minutes: the whole run may take about so long, more than 0. Where encoding the clip anew in each round
            would take longer, later rounds go on with the last encoding.
        video: name of the caller's clip; None for the made one.

    Raises:
        ValueError: a value outside its range.
    """

    frames: int = 32
    batch: int = 1
    methods: tuple[str, ...] = ("sharpv",)
    config: SharpVConfig = DEFAULT_CONFIG
    repeats: int = 7
    new_tokens: int = 16
    minutes: float = 13.0
    video: str | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "batch", "repeats", "new_tokens"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"LatencySpec.{name} is {value!r}: it must be a whole number of at least 1")
        if not self.minutes > 0:
            raise ValueError(f"LatencySpec.minutes is {self.minutes!r}: it must be more than 0")
        unknown = [method for method in self.methods if method not in BEFORE_LLM]
        if unknown or not self.methods or len(set(self.methods)) < len(self.methods):
            raise ValueError(
                f"LatencySpec.methods is {self.methods!r}: it must be one or more of "
                f"{', '.join(BEFORE_LLM)}, each once"
            )
        looking = [method for method in self.methods if needs_attention(BEFORE_LLM[method])]
        if looking:
            raise ValueError(
                f"LatencySpec.methods has {', '.join(looking)}, which look at the attention of the vision "
                "tower: all methods share one encoding here, which would hide what reading it costs; leave "
                "them out"
            )
        if self.config.threshold is not None:
            raise ValueError(
                f"LatencySpec.config has threshold={self.config.threshold!r}: set retention instead, by "
                "which the kept counts can be checked"
            )
        if self.config.reuse is not None and self.config.reuse.audit:
            raise ValueError(
                f"LatencySpec.config has vision_reuse with audit={self.config.reuse.audit}, which encodes "
                "frames twice: set audit=0 to time it; `sharpv bench audit` tells what reuse changes"
            )
        # A family that is shown a video as images has no others here.
        object.__setattr__(self, "config", replace(self.config, images_as_frames=True))

    @property
    def pruning(self) -> SharpVConfig:
        """What sessions are attached with: videos come to them encoded."""
        return replace(self.config, vision_reuse=None)

    @property
    def questions(self) -> tuple[str, ...]:
        """One question per row of the batch."""
        return (QUESTION,) * self.batch

    def budget(self, method: str, frames: int, tokens_per_frame: int) -> int | None:
        """Returns how many tokens of a video a method keeps; None where the video decides.

        Args:
            method: one of `BEFORE_LLM`.
            frames: n, of the video as the LLM sees it.
            tokens_per_frame: f.
        """
        if self.config.retention == "adaptive":
            return None
        least = frames * min(self.config.min_tokens_per_frame, tokens_per_frame) if method == "sharpv" else 1
        share = round(float(self.config.retention) * frames * tokens_per_frame)
        return self.config.rounded_up(max(share, least), frames * tokens_per_frame)

    def kept_as_asked(self, method: str, video: VideoReport) -> bool:
        """Says whether a method kept as many tokens as the configuration asks.

        Adaptive counts are held against the ratios of the record, by the rule of
        `sharpv.core.select.token_counts`; what `bucket` adds may stand in any frame.
        """
        f = video.tokens_per_frame
        budget = self.budget(method, video.frames, f)
        if budget is not None:
            return video.tokens_kept == budget
        least = min(self.config.min_tokens_per_frame, f)
        asked = [min(max(ceil((ratio - RATIO_TOLERANCE) * f), least), f) for ratio in video.ratios]
        rounded = self.config.rounded_up(sum(asked), video.tokens_total)
        return video.tokens_kept == rounded and all(
            sum(frame) >= count for frame, count in zip(video.kept, asked, strict=True)
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"methods": list(self.methods), "config": self.config.to_dict()}
