"""What one request kept, dropped and cost: the record that the CLI, pictures, benches and servers read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from sharpv._plain import Mask, from_numbers, known, to_numbers
from sharpv.config import SharpVConfig
from sharpv.reuse_report import ReuseAudit, ReuseReport

__all__ = [
    "SCHEMA_VERSION",
    "LayerReport",
    "Milliseconds",
    "Report",
    "ReuseAudit",
    "ReuseReport",
    "VideoReport",
]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoReport:
    """Stage 1 on one video.

    Attributes:
        row: row of the batch that the video stands in.
        frames: n, frames as the LLM sees them (a Qwen frame is two source frames).
        tokens_per_frame: f.
        separators: tokens of the video outside any frame, such as LLaVA-OneVision's newline; always kept and
            not counted below.
        ratios: r_t per frame, in [0, 1]; empty for a method that has none, and where both stages are off.
        kept: `[n][f]`, whether a token was kept, in raster order.
        merged: whether kept tokens took values that stand for others, too.
        kept_inside: `[n][f]`, whether a token stayed to the last layer, for a method that acts inside the LLM
            (`kept` is then what entered it); None for the others.
        leading: tokens at the start of each frame that stand for all of it, such as a class token; f counts
            them.
        grid: (rows, cols) of the other tokens of a frame, each an equal share of the window; None where they
            fill no known rectangle.
        source_frames: frames of the clip that one frame of the LLM holds: 2 for Qwen-VL, where the last may
            hold fewer.
        window: (top, left, bottom, right) of the part of the clip's frames that the grid covers, in shares of
            their height and width; what lies outside 0..1 is padding. None where it is not known.
        reuse: which patches the vision tower encoded; None without `vision_reuse`.
    """

    row: int
    frames: int
    tokens_per_frame: int
    separators: int = 0
    ratios: tuple[float, ...]
    kept: Mask
    merged: bool = False
    kept_inside: Mask | None = None
    leading: int = 0
    grid: tuple[int, int] | None = None
    source_frames: int = 1
    window: tuple[float, float, float, float] | None = None
    reuse: ReuseReport | None = None

    @property
    def tokens_total(self) -> int:
        """Number of tokens before pruning, n f."""
        return self.frames * self.tokens_per_frame

    @property
    def tokens_kept(self) -> int:
        """Number of tokens that the LLM read."""
        return sum(map(sum, self.kept))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; `kept` as 0 and 1."""
        return asdict(self) | {
            "ratios": list(self.ratios),
            "kept": to_numbers(self.kept),
            "kept_inside": None if self.kept_inside is None else to_numbers(self.kept_inside),
            "grid": None if self.grid is None else list(self.grid),
            "window": None if self.window is None else list(self.window),
            "reuse": None if self.reuse is None else self.reuse.to_dict(),
            "tokens_total": self.tokens_total,
            "tokens_kept": self.tokens_kept,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the record from `to_dict()`."""
        own = known(cls, values)
        own["ratios"] = tuple(own["ratios"])
        own["kept"] = from_numbers(own["kept"])
        if own.get("kept_inside") is not None:
            own["kept_inside"] = from_numbers(own["kept_inside"])
        for name in ("grid", "window"):
            if own.get(name) is not None:
                own[name] = tuple(own[name])
        if own.get("reuse") is not None:
            own["reuse"] = ReuseReport.from_dict(own["reuse"])
        return cls(**own)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """Stage 2 on one decoder layer.

    Attributes:
        layer: index of the decoder layer.
        similarity: per row, mean cosine of the visual hidden states to the original features; None for a row
            without video.
        dropped: per row, whether its visual keys and values were given up.
    """

    layer: int
    similarity: tuple[float | None, ...]
    dropped: tuple[bool, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the record from `asdict()`."""
        return cls(
            layer=values["layer"], similarity=tuple(values["similarity"]), dropped=tuple(values["dropped"])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Milliseconds:
    """Time of the phases of a request; None where a phase did not run or was not seen.

    Attributes:
        vision: vision tower and projector; where the model runs them itself, all before its decoder.
        scoring: scores, selection and shortening of the inputs.
        prefill: the forward pass over the prompt, without the vision tower.
        decode: everything after the prefill until `generate()` returned.
    """

    vision: float | None = None
    scoring: float | None = None
    prefill: float | None = None
    decode: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One request: one `generate()`, or one bare `forward()` over a prompt with video.

    Attributes:
        model: `model_type` of the model.
        config: the configuration in force.
        method: what chose the tokens.
        prompt_tokens: per row, tokens of the prompt before pruning, padding left out.
        prompt_tokens_kept: per row, tokens of the prompt that the LLM read.
        videos: one record per video, in the order of the request.
        layers: one record per decoder layer with a prunable cache; empty without a cache.
        layer_tokens: visual tokens of all videos that each decoder layer read in the prefill, separators not
            counted; empty without a video, and in records of releases that did not count them.
        cache_bytes: bytes of storage that the KV cache held after the prefill; None without a cache.
        dense_cache_bytes: what the dense model would have held then.
        milliseconds: time of each phase.
        notes: what did not run as configured, and why.
        versions: versions of sharpv, torch and transformers.
    """

    model: str
    config: SharpVConfig
    prompt_tokens: tuple[int, ...]
    prompt_tokens_kept: tuple[int, ...]
    method: str = "sharpv"
    videos: tuple[VideoReport, ...] = ()
    layers: tuple[LayerReport, ...] = ()
    layer_tokens: tuple[int, ...] = ()
    cache_bytes: int | None = None
    dense_cache_bytes: int | None = None
    milliseconds: Milliseconds = Milliseconds()
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def tokens_total(self) -> int:
        """Visual tokens of all videos before pruning."""
        return sum(video.tokens_total for video in self.videos)

    @property
    def tokens_kept(self) -> int:
        """Visual tokens of all videos that the LLM read."""
        return sum(video.tokens_kept for video in self.videos)

    @property
    def patches_total(self) -> int | None:
        """Patches of all videos; None unless stage 0 planned which of them to encode."""
        return sum(reuse.rows_total for reuse in self._planned) or None

    @property
    def patches_encoded(self) -> int | None:
        """Those that the vision tower encoded; None as `patches_total`."""
        return sum(reuse.rows_computed for reuse in self._planned) or None

    @property
    def _planned(self) -> list[ReuseReport]:
        """What stage 0 did with each video; empty unless it planned all of them."""
        planned = [video.reuse for video in self.videos if video.reuse is not None and video.reuse.computed]
        return planned if len(planned) == len(self.videos) else []

    @property
    def layer_share(self) -> float | None:
        """Share of the visual tokens that a decoder layer read, mean over the layers; None without a video.

        It is `tokens_kept / tokens_total` unless tokens leave inside the LLM.
        """
        if not self.videos:
            return None
        read = self.layer_tokens or (self.tokens_kept,)
        return sum(read) / len(read) / self.tokens_total

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {
            "config": self.config.to_dict(),
            "prompt_tokens": list(self.prompt_tokens),
            "prompt_tokens_kept": list(self.prompt_tokens_kept),
            "tokens_total": self.tokens_total,
            "tokens_kept": self.tokens_kept,
            "layer_tokens": list(self.layer_tokens),
            "layer_share": self.layer_share,
            "videos": [video.to_dict() for video in self.videos],
            "layers": [
                asdict(layer) | {"similarity": list(layer.similarity), "dropped": list(layer.dropped)}
                for layer in self.layers
            ],
            "milliseconds": asdict(self.milliseconds),
            "notes": list(self.notes),
            "versions": dict(self.versions),
        }

    def to_json(self) -> str:
        """Returns one line of JSON."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the record from `to_dict()`.

        Raises:
            ValueError: the record has another schema version.
        """
        version = values.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"report has schema_version {version!r}, this sharpv reads {SCHEMA_VERSION}: "
                "use the release that wrote it"
            )
        own = known(cls, values)
        own["config"] = SharpVConfig.from_dict(own["config"])
        own["videos"] = tuple(VideoReport.from_dict(video) for video in own["videos"])
        own["layers"] = tuple(LayerReport.from_dict(layer) for layer in own["layers"])
        own["milliseconds"] = Milliseconds(**known(Milliseconds, own["milliseconds"]))
        for name in ("prompt_tokens", "prompt_tokens_kept", "layer_tokens", "notes"):
            own[name] = tuple(own.get(name, ()))
        return cls(**own)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Builds the record from `to_json()`."""
        return cls.from_dict(json.loads(text))
