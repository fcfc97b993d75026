"""The one configuration object: every knob of the method, with its symbol in the paper (arXiv 2511.08003)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import inf, isfinite
from numbers import Real
from typing import Any, Literal

__all__ = ["SharpVConfig", "VisionReuse", "with_retention"]

REUSE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "balanced": {},
    "safe": {"threshold": 4.0, "dilate": 1, "max_age": 8},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionReuse:
    """Which patches of a video the vision tower encodes: those that changed. The defaults are "balanced".

    A patch that has not changed takes the features of an earlier version of itself; `sharpv.core.reuse` has
    the rule. Pixels are in levels of 0..255. Where the tower encodes several patches as one, as Qwen-VL's
    does with 2x2, they have changed if one of them has.

    Attributes:
        threshold: a patch has changed if the mean colour of a quarter of it differs by more levels than this,
            in [0, 255].
        texture: or if its pixels differ by more levels than this on average, in [0, 255]; 255 never tells.
        dilate: what is within so many steps of what has changed, diagonal ones too, counts as changed.
        full_frame: a frame is encoded in full if a larger share of it than this has changed, in [0, 1].
        max_share: a video is encoded as if there were no reuse if a larger share of its patches than this
            would be, in (0, 1].
        max_age: features are at most so many frames old. None: of any age.
        window: number of the latest encoded versions of each patch that it is compared with.
        audit: number of frames that are encoded in full besides, with those before them, to measure what
            reuse changes.
        image_mean: of red, green and blue, in shares of 255, that the processor takes off the levels. None:
            that of the released processors which makes whole levels of the pixels.
        image_std: what it divides by then; set both or none.

    Raises:
        ValueError: a value outside its range; the message names the field, the value and the range.
    """

    threshold: float = 6.0
    texture: float = 20.0
    dilate: int = 0
    full_frame: float = 0.6
    max_share: float = 0.85
    max_age: int | None = None
    window: int = 64
    audit: int = 0
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        level, whole = "a number of levels in [0, 255]", "a whole number of at least"
        rules = {
            "threshold": (_in_range(self.threshold, 0, 255), level),
            "texture": (_in_range(self.texture, 0, 255), f"{level} (255 never tells)"),
            "dilate": (_whole(self.dilate, 0), f"{whole} 0"),
            "full_frame": (_in_range(self.full_frame, 0, 1), "a number in [0, 1]"),
            "max_share": (_in_range(self.max_share, 0, 1) and self.max_share != 0, "a number in (0, 1]"),
            "max_age": (self.max_age is None or _whole(self.max_age, 1), f"None or {whole} 1"),
            "window": (_whole(self.window, 1), f"{whole} 1"),
            "audit": (_whole(self.audit, 0), f"{whole} 0"),
            "image_mean": (_is_colour(self.image_mean, 0), "None or three numbers in [0, 1]"),
            "image_std": (_is_colour(self.image_std, 1e-3), "None or three numbers in [0.001, 1]"),
        }
        _check(self, rules)
        _to_float(self, ("threshold", "texture", "full_frame", "max_share"))
        if (self.image_mean is None) != (self.image_std is None):
            raise ValueError(
                f"VisionReuse has image_mean={self.image_mean!r} and image_std={self.image_std!r}: "
                "set both, or none"
            )
        for name in ("image_mean", "image_std"):
            values = getattr(self, name)
            object.__setattr__(self, name, None if values is None else tuple(map(float, values)))

    @property
    def shorthand(self) -> str | dict[str, Any]:
        """The shortest that `SharpVConfig` takes for it: a name, or what differs from "balanced"."""
        default = VisionReuse()
        own = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(default, field.name)
        }
        return next((name for name, preset in REUSE_PRESETS.items() if preset == own), own)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "VisionReuse":
        """Builds the settings from a mapping, such as YAML's.

        Raises:
            ValueError: a key that is no field, or a value outside its range.
        """
        return cls(**_known(cls, values))


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
        vision_reuse: which patches the vision tower encodes. None: all; "balanced", "safe" (lower threshold,
            neighbours of what changed, nothing older than 8 frames), or a `VisionReuse`. A name or a mapping
            of fields is stored as the `VisionReuse` that it stands for.
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
    vision_reuse: VisionReuse | Literal["balanced", "safe"] | Mapping[str, Any] | None = None
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
                _whole(self.min_tokens_per_frame, 0),
                "a whole number of at least 0",
            ),
            "bucket": (_whole(self.bucket, 1), "a whole number of at least 1 (1 rounds nothing)"),
            "memory_probe": (self.memory_probe in ("input", "output"), "'input' or 'output'"),
            "positions": (self.positions in ("original", "compact"), "'original' or 'compact'"),
            "vision_reuse": (
                self.vision_reuse is None
                or isinstance(self.vision_reuse, VisionReuse | Mapping)
                or (isinstance(self.vision_reuse, str) and self.vision_reuse in REUSE_PRESETS),
                "None, 'balanced', 'safe', a VisionReuse or a mapping of its fields",
            ),
            "images_as_frames": (isinstance(self.images_as_frames, bool), "True or False"),
        }
        _check(self, rules)
        _to_float(self, ("retention", "threshold", "spatial_weight", "coverage", "memory_threshold"))
        if isinstance(self.vision_reuse, str | Mapping):
            values = (
                REUSE_PRESETS[self.vision_reuse] if isinstance(self.vision_reuse, str) else self.vision_reuse
            )
            object.__setattr__(self, "vision_reuse", VisionReuse.from_dict(values))
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

    @property
    def reuse(self) -> VisionReuse | None:
        """`vision_reuse` by the type that it is stored in."""
        return self.vision_reuse if isinstance(self.vision_reuse, VisionReuse) else None

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
        return cls(**_known(cls, values))


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


def _is_colour(value: object, least: float) -> bool:
    """Whether a value is None, or of red, green and blue, each from `least` to 1."""
    if value is None:
        return True
    return isinstance(value, list | tuple) and len(value) == 3 and all(_in_range(x, least, 1) for x in value)


def _whole(value: object, least: int) -> bool:
    return type(value) is int and value >= least


def _check(config: object, rules: Mapping[str, tuple[bool, str]]) -> None:
    for name, (ok, accepted) in rules.items():
        if not ok:
            value = getattr(config, name)
            raise ValueError(f"{type(config).__name__}.{name} is {value!r}: it must be {accepted}")


def _to_float(config: object, names: tuple[str, ...]) -> None:
    """Makes plain floats of other numbers, which JSON may not know."""
    for name in names:
        if isinstance(getattr(config, name), Real):
            object.__setattr__(config, name, float(getattr(config, name)))


def _known(cls: type, values: Mapping[str, Any]) -> Mapping[str, Any]:
    known = [field.name for field in fields(cls)]
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise ValueError(f"unknown {cls.__name__} keys {unknown}: accepted are {known}")
    return values
