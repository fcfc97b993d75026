"""What reuse changes, measured on a few frames of a request that are encoded in full, too."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from sharpv.config import SharpVConfig
from sharpv.core import ReusePlan, score
from sharpv.hf.layout import VideoLayout
from sharpv.methods import InLLMPruner, TokenPruner
from sharpv.report import ReuseAudit

__all__ = ["audit", "audited_frames", "with_predecessors"]

LOW = 0.05
"""The share of tokens below the low cosine that is told."""


def audited_frames(plan: ReusePlan, count: int) -> list[int]:
    """Returns which frames to encode in full besides: the middles of equal parts of those that are not."""
    reusing = (~plan.computed.all(1)).nonzero().flatten().tolist()
    count = min(count, len(reusing))
    return [reusing[(2 * part + 1) * len(reusing) // (2 * count)] for part in range(count)]


def with_predecessors(plan: ReusePlan, frames: list[int]) -> list[int]:
    """Returns audited frames and those before them, with which T compares them, where these reuse, too."""
    reuses = ~plan.computed.all(1)
    return sorted({*frames, *(frame - 1 for frame in frames if reuses[frame - 1])})


@torch.no_grad()
def audit(
    features: Tensor,
    dense: Tensor,
    encoded: list[int],
    frames: list[int],
    layout: VideoLayout,
    config: SharpVConfig,
    pruner: TokenPruner | InLLMPruner,
) -> ReuseAudit:
    """Compares the features of frames with reuse to those without.

    Scores and selection are those of the whole video, with and without reuse in the frames encoded in full.

    Args:
        features: `[n, f, d]` of the video, with reuse.
        dense: `[k, f, d]`, of the frames encoded in full.
        encoded: their numbers, k, from `with_predecessors`.
        frames: those of them to compare.
        layout: of the video.
        config: what to keep.
        pruner: what chooses tokens; one that acts inside the LLM chooses none here.
    """
    exact = features.clone()
    exact[encoded] = dense
    alike = cosine_similarity(features[frames].double(), exact[frames].double(), dim=-1).flatten()
    times = [score(values, config.spatial_weight).temporal[frames] for values in (features, exact)]
    overlap = None
    if config.prunes_tokens and not isinstance(pruner, InLLMPruner):
        grid = None if layout.leading else layout.grid
        kept, expected = (pruner.select(values, config, grid).mask[frames] for values in (features, exact))
        if expected.any():
            overlap = float((kept & expected).sum() / expected.sum())
    return ReuseAudit(
        frames=len(frames),
        cosine_mean=float(alike.mean()),
        cosine_p5=float(alike.quantile(LOW)),
        temporal_error=float((times[0] - times[1]).abs().mean()),
        kept_overlap=overlap,
    )
