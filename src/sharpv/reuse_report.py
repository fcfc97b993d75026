"""Which patches of a video the vision tower encoded, and what reuse changed where that was measured."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from sharpv._plain import Mask, from_numbers, known, to_numbers

__all__ = ["ReuseAudit", "ReuseReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseAudit:
    """What reuse changed in frames that were encoded in full, too.

    Attributes:
        frames: number of those frames.
        cosine_mean: cosine of their tokens' features with reuse to those without, mean over the tokens.
        cosine_p5: its 5th percentile.
        temporal_error: mean absolute difference of their tokens' scores T.
        kept_overlap: share of their tokens that are kept without reuse that are kept with it, too; None where
            no token can be dropped.
    """

    frames: int
    cosine_mean: float
    cosine_p5: float
    temporal_error: float
    kept_overlap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReuseReport:
    """Stage 0 on one video.

    Attributes:
        computed: `[n][patches]`, whether the vision tower encoded a patch of a frame of the LLM, in raster
            order; what only an audit encoded is not counted. Empty where `fallback` kept it from planning.
        grid: (rows, cols) of a frame's patches, which need not be the tokens'; None where `computed` is
            empty.
        plan_milliseconds: time that comparing the frames took.
        fallback: why all patches were encoded as if there were no reuse; None where they were not.
        audit: what reuse changed; None where no frame was audited.
    """

    computed: Mask
    grid: tuple[int, int] | None
    plan_milliseconds: float
    fallback: str | None = None
    audit: ReuseAudit | None = None

    @property
    def rows_computed(self) -> int:
        """Number of patches that the vision tower encoded."""
        return sum(map(sum, self.computed))

    @property
    def rows_total(self) -> int:
        """Number of patches of the video."""
        return sum(map(len, self.computed))

    @property
    def share(self) -> float:
        """Share of the patches that the vision tower encoded; 1 where `computed` is empty."""
        return self.rows_computed / self.rows_total if self.computed else 1.0

    @property
    def full_frames(self) -> int:
        """Number of frames of which all patches were encoded."""
        return sum(map(all, self.computed))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; `computed` as 0 and 1."""
        return asdict(self) | {
            "computed": to_numbers(self.computed),
            "grid": None if self.grid is None else list(self.grid),
            "rows_computed": self.rows_computed,
            "rows_total": self.rows_total,
            "share": self.share,
            "full_frames": self.full_frames,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the record from `to_dict()`."""
        own = known(cls, values)
        own["computed"] = from_numbers(own["computed"])
        own["grid"] = None if own["grid"] is None else tuple(own["grid"])
        if own.get("audit") is not None:
            own["audit"] = ReuseAudit(**known(ReuseAudit, own["audit"]))
        return cls(**own)
