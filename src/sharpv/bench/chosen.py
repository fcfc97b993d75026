"""What a condition is on one clip: its configuration, and a pruner that draws anew for each clip."""

from dataclasses import replace
from typing import Any
from zlib import crc32

from sharpv.bench.conditions import Condition
from sharpv.config import SharpVConfig
from sharpv.methods import InLLMPruner, TokenPruner, find_pruner

__all__ = ["on_clip"]


def on_clip(
    condition: Condition, clip: str, matched: float | None
) -> tuple[SharpVConfig, TokenPruner | InLLMPruner]:
    """Returns the configuration and the pruner of a condition on one clip.

    Args:
        condition: of the run.
        clip: its name, which seeds what draws at random.
        matched: share of the clip's tokens that the condition of `condition.match` kept; None without one.
    """
    # A family that is shown a video as images has no others here.
    config = replace(condition.config, images_as_frames=True)
    if matched is not None:
        config = replace(config, retention=matched)
    pruner: Any = find_pruner(condition.method)
    if hasattr(pruner, "seed"):
        # One mask for all clips of one shape would make its luck look like the method's.
        draw = f"{clip}#{condition.seed}" if condition.seed else clip
        pruner = replace(pruner, seed=crc32(draw.encode()))
    return config, pruner
