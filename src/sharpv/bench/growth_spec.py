"""What a growth run times: a request that grows by its frames, and one that grows by its rows."""

from dataclasses import dataclass, fields
from typing import Any

from sharpv.bench.latency_spec import DEFAULT_CONFIG, LatencySpec
from sharpv.config import SharpVConfig

__all__ = ["GrowthSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthSpec:
    """What is timed at each point.

    Attributes:
        frames: of a single row, each number once.
        batches: rows with the fewest of `frames` each, each number once.
        config: what the pruned side keeps: a share of the tokens, since the features are drawn; and no
            stage 2, so that the bytes of the cache can be said before.
        repeats: timed rounds of a point, at least 1.
        new_tokens: tokens to generate, at least 1.
        minutes: the whole run may take about so long, more than 0. Points that take long get fewer rounds.

    Raises:
        ValueError: a value outside its range.
    """

    frames: tuple[int, ...] = (8, 16, 32, 64, 128, 256)
    batches: tuple[int, ...] = (1, 2, 4, 8)
    config: SharpVConfig = DEFAULT_CONFIG
    repeats: int = 5
    new_tokens: int = 8
    minutes: float = 15.0

    def __post_init__(self) -> None:
        for name in ("frames", "batches"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"GrowthSpec.{name} is {values!r}: it must be one or more numbers, each once"
                )
        if self.config.retention == "adaptive" or self.config.memory_threshold is not None:
            raise ValueError(
                f"GrowthSpec.config has retention={self.config.retention!r} and memory_threshold="
                f"{self.config.memory_threshold!r}: give a share and None, so that the bytes of the "
                "cache can be said before"
            )
        for point in self.points:
            self.at(*point)

    @property
    def points(self) -> list[tuple[int, int]]:
        """Frames and rows of each point once, cheap ones first: what these leave of the time, others use."""
        fewest = min(self.frames)
        points = {(frames, 1) for frames in self.frames} | {(fewest, batch) for batch in self.batches}
        return sorted(points, key=lambda point: (point[0] ** 2 * point[1], point))

    def at(self, frames: int, batch: int) -> LatencySpec:
        """Returns what is timed at a point."""
        return LatencySpec(
            frames=frames,
            batch=batch,
            config=self.config,
            repeats=self.repeats,
            new_tokens=self.new_tokens,
            minutes=self.minutes,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        lists = {"frames": list(self.frames), "batches": list(self.batches)}
        return values | lists | {"config": self.config.to_dict()}
