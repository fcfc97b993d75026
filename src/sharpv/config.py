"""The one configuration object: every knob of the method, with its symbol in the paper (arXiv 2511.08003)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf, isfinite
from numbers import Real
from typing import Any, Literal

__all__ = ["SharpVConfig", "with_retention"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharpVConfig:
    """What to drop and how. The defaults are the paper's automatic mode.

    Attributes:
        retention: `"adaptive"` keeps `ceil(r_t f)` tokens of frame t, where r_t comes from the video's own
            motion; a float in (0, 1] keeps exactly that share of the video's tokens, shared over the frames
            by r_t.
        threshold: K of the paper's manual mode: keep every token with importance of at least K. Excludes a
            float `retention`.
        spatial_weight: w in `I = T + w S`; at least 0.
        coverage: share in [0, 1] of each frame's tokens spent on anchor positions, the same in every frame.
            0 is the paper.
        diversity: the others are chosen one by one, each time the token of the frame with the largest
            importance times `1 - cos` to the nearest one chosen. False is the paper: by importance alone.
        memory_threshold: M. A layer whose visual hidden states have a mean cosine similarity to the original
            features below M gives up their keys and values. None switches stage 2 off.
        min_tokens_per_frame: the least number of tokens kept per frame. 0 is the paper to the letter, which
            gives nothing to a frame that equals its predecessor.
        bucket: the number of tokens kept of a video is rounded up to a multiple of this, at most to all of
            them, by the most important of the others, whatever their frame. Models compiled for fixed shapes
            then meet few lengths of prompts. 1 adds nothing.
        memory_probe: where a layer's hidden states are read: at its `"input"`, from which its keys and
            values are made, or at its `"output"`.
        positions: `"original"` keeps the position ids of kept tokens; `"compact"` renumbers them (1-D RoPE
            models only).
        images_as_frames: for families that are shown a video as images (InternVL, SmolVLM): all images of a
            prompt are the frames of one video, in order. Other families take no notice.

    Raises:
        ValueError: a value outside its range; the message names the field, the value and the range.
    """

    retention: float | Literal["adaptive"] = "adaptive"
    threshold: float | None = None
    spatial_weight: float = 1.0
    coverage: float = 0.0
    diversity: bool = False
    memory_threshold: float | None = 0.2
    min_tokens_per_frame: int = 1
    bucket: int = 1
    memory_probe: Literal["input", "output"] = "input"
    positions: Literal["original", "compact"] = "original"
    images_as_frames: bool = False

    def __post_init__(self) -> None:
        share = _in_range(self.retention, 0, 1) and self.retention != 0
        rules = {
            "retention": (self.retention == "adaptive" or share, "'adaptive' or a number in (0, 1]"),
            "threshold": (self.threshold is None or _in_range(self.threshold), "None or a finite number"),
            "spatial_weight": (_in_range(self.spatial_weight, 0), "a finite number of at least 0"),
            "coverage": (_in_range(self.coverage, 0, 1), "a number in [0, 1]"),
            "diversity": (isinstance(self.diversity, bool), "True or False"),
            "memory_threshold": (
                self.memory_threshold is None or _in_range(self.memory_threshold),
                "None (stage 2 off) or a finite number, usually in [0, 1]",
            ),
            "min_tokens_per_frame": (
                type(self.min_tokens_per_frame) is int and self.min_tokens_per_frame >= 0,
                "a whole number of at least 0",
            ),
            "bucket": (
                type(self.bucket) is int and self.bucket >= 1,
                "a whole number of at least 1 (1 rounds nothing)",
            ),
            "memory_probe": (self.memory_probe in ("input", "output"), "'input' or 'output'"),
            "positions": (self.positions in ("original", "compact"), "'original' or 'compact'"),
            "images_as_frames": (isinstance(self.images_as_frames, bool), "True or False"),
        }
        for name, (ok, accepted) in rules.items():
            if not ok:
                raise ValueError(f"SharpVConfig.{name} is {getattr(self, name)!r}: it must be {accepted}")
        for name in ("retention", "threshold", "spatial_weight", "coverage", "memory_threshold"):
            if isinstance(getattr(self, name), Real):
                object.__setattr__(self, name, float(getattr(self, name)))
        if self.threshold is not None and self.retention != "adaptive":
            raise ValueError(
                f"SharpVConfig has threshold={self.threshold!r} and retention={self.retention!r}: "
                "set one of the two"
            )

    @property
    def prunes_tokens(self) -> bool:
        """Whether stage 1 can drop anything: false only for `retention=1.0`."""
        return self.retention != 1

    @property
    def prunes(self) -> bool:
        """Whether either stage can drop anything."""
        return self.prunes_tokens or self.memory_threshold is not None

    def rounded_up(self, tokens: int, total: int) -> int:
        """Rounds the number of tokens kept of a video up to a multiple of `bucket`.

        Args:
            tokens: kept by the rule alone.
            total: n f, of the whole video; no more are kept.
        """
        return min(-(-tokens // self.bucket) * self.bucket, total)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SharpVConfig":
        """Builds a configuration from `to_dict()` or a YAML mapping.

        Raises:
            ValueError: a key that is no field, or a value outside its range.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(map(str, set(values) - set(known)))
        if unknown:
            raise ValueError(f"unknown SharpVConfig keys {unknown}: accepted are {known}")
        return cls(**values)


def with_retention(
    config: SharpVConfig | None, retention: float | Literal["adaptive"] | None
) -> SharpVConfig:
    """Returns a configuration, the default one for None, with another retention unless that is None."""
    config = config or SharpVConfig()
    return config if retention is None else replace(config, retention=retention)


def _in_range(value: object, low: float = -inf, high: float = inf) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    return isfinite(value) and low <= float(value) <= high
