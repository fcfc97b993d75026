"""What a condition is on one clip: its configuration, and what draws anew for each clip."""

from dataclasses import replace
from typing import Any
from zlib import crc32

from sharpv.bench.conditions import Condition
from sharpv.config import SharpVConfig
from sharpv.core import plan_reuse
from sharpv.hf.reuse.encoder import Planner
from sharpv.methods import InLLMPruner, TokenPruner, find_pruner

__all__ = ["on_clip", "plan_on_clip"]


def on_clip(
    condition: Condition, clip: str, matched: float | None
) -> tuple[SharpVConfig, TokenPruner | InLLMPruner]:
    """Returns the configuration and the pruner of a condition on one clip.

    Args:
        condition: of the run.
        clip: its name, which seeds what draws at random.
        matched: share of the clip's tokens that the condition of `condition.match` kept; None without one.
    """
    # A family that is shown a video as images has no others here. Clips are encoded before, for several
    # conditions at once, and with reuse where these want it.
    config = replace(condition.config, images_as_frames=True, vision_reuse=None)
    if matched is not None:
        config = replace(config, retention=matched)
    pruner: Any = find_pruner(condition.method)
    if hasattr(pruner, "seed"):
        # One mask for all clips of one shape would make its luck look like the method's.
        draw = f"{clip}#{condition.seed}" if condition.seed else clip
        pruner = replace(pruner, seed=crc32(draw.encode()))
    return config, pruner


def plan_on_clip(planner: Planner | None, clip: str) -> Planner:
    """Returns what decides which patches of a clip are encoded.

    Args:
        planner: of a condition; None for SharpV's rule.
        clip: its name, which seeds what draws at random.
    """
    if planner is None:
        return plan_reuse
    made: Any = planner
    return replace(made, seed=crc32(clip.encode())) if hasattr(made, "seed") else planner
