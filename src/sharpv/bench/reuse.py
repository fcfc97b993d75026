"""Vision reuse in the benches: around one encoding of a clip, and by a draw instead of SharpV's rule."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sharpv.config import SharpVConfig, VisionReuse
from sharpv.core import ReusePlan, plan_reuse
from sharpv.hf.families import require_family
from sharpv.hf.layout import video_placeholders
from sharpv.hf.reuse.encoder import Planner, Reuse
from sharpv.methods import find_pruner

__all__ = ["RandomPatches", "reuse_of", "reusing"]


@dataclass(frozen=True, slots=True)
class RandomPatches:
    """Encodes the first frame, and of the others any patches: what reuse would be worth without a look.

    Attributes:
        share: of the patches of each later frame, in [0, 1], on average.
        seed: of the draw.
    """

    share: float
    seed: int = 0

    def __call__(
        self, frames: Tensor, unit: int, settings: VisionReuse, patch: int | None = None
    ) -> ReusePlan:
        """Draws a plan; takes what `sharpv.core.plan_reuse` does. Other patches take their latest version."""
        n, height, width = len(frames), *frames.shape[-2:]
        shape = (n, (height // unit) * (width // unit))
        computed = torch.rand(shape, generator=torch.Generator().manual_seed(self.seed)) < self.share
        computed[0] = True
        own = torch.arange(n).unsqueeze(1) * computed
        return ReusePlan(own.cummax(0).values)


def reuse_of(model: Any, settings: VisionReuse, planner: Planner = plan_reuse) -> Reuse:
    """Returns what reuses patches in requests of a model, outside a session.

    Args:
        model: whose tower it is.
        settings: the rule.
        planner: what decides in its place which patches are encoded.

    Raises:
        UnsupportedModelError: a vision tower that cannot.
    """
    family = require_family(model.config.model_type)
    config = SharpVConfig(vision_reuse=settings)
    return Reuse(model.base_model, family, config, settings, find_pruner("sharpv"), planner)


@contextmanager
def reusing(model: Any, inputs: Mapping[str, Any], reuse: Reuse | None) -> Iterator[None]:
    """Within the block, the encoder of videos spares what it can of one request.

    Args:
        model: whose encoder it is.
        inputs: of the request, with a video.
        reuse: on this model; its `videos` then say what was encoded. None: everything is.
    """
    if reuse is None:
        yield
        return
    base, family = model.base_model, require_family(model.config.model_type)
    visual = video_placeholders(base, family.placeholder, inputs["input_ids"])
    reuse.expect(family.layouts(inputs, base, visual.sum(1).tolist()))
    with reuse.covering():
        yield
