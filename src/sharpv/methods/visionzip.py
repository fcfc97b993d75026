"""VisionZip (arXiv 2412.04467): the tokens that the vision tower looks at, and the others in summary."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.select import share_tokens
from sharpv.methods.attention import require_attention
from sharpv.methods.base import Budgeted, Selection, budget, keep_places, require_within, stride
from sharpv.methods.clusters import join
from sharpv.methods.vectors import inverse, widen

__all__ = ["VisionZip"]

# Published: 191 tokens by attention and 30 in summary.
DOMINANT = 191 / 221


@dataclass(frozen=True, slots=True)
class VisionZip(Budgeted):
    """Keeps the tokens that receive most attention, and merges the others of their frame into a few.

    For x `[n, f, d]` and the attention a `[n, f]`, with an equal share of the budget for each frame, the
    earlier ones rounded up:
        - Of each frame's share m, `round(dominant m)` tokens stay as they are: those of the highest a.
        - Of the others, in raster order, `m - round(dominant m)` at an even stride are targets. Each token
          left joins the target with the highest cosine to it.
        - A target becomes the mean of itself and of the mean of those that joined it.

    O(n f m d), m x f cosines at a time. The total is fixed, so `retention="adaptive"` is refused.

    What differs:
        - The published code compares the keys of the tower's attention; here the features themselves are
          compared, since what is merged are they.
        - It adds the mean to the target, which doubles it where they agree; half of that sum is taken here.
        - It works in the tower, on one image, and always keeps the class token; the contextual tokens come
          last. Here tokens are those after the projector, in raster order.

    Attributes:
        dominant: share of a frame's tokens that stay for their attention, in [0, 1].

    Raises:
        ValueError: a value outside its range.
    """

    dominant: float = DOMINANT
    name: ClassVar[str] = "visionzip"
    needs_attention: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_within(self, "dominant", 0)

    @eager
    @torch.no_grad()
    def select(
        self,
        features: Tensor,
        config: SharpVConfig,
        grid: tuple[int, int] | None = None,
        attention: Tensor | None = None,
    ) -> Selection:
        """Takes the dominant tokens of each frame, and sums the others up."""
        vectors, norms = widen(features)
        n, f = norms.shape
        order = require_attention(self, attention, norms).argsort(dim=-1, descending=True, stable=True)
        scales = inverse(norms).unsqueeze(-1)
        places, values = [], []
        for t, share in enumerate(share_tokens(budget(config, n, f), [1] * n, 0, f)):
            first = order[t, : round(self.dominant * share)]
            rest = order[t, len(first) :].sort().values
            frame = vectors[t]
            places.append(t * f + first)
            values.append(frame[first])
            if share > len(first):
                chosen = torch.zeros_like(rest, dtype=torch.bool)
                chosen[stride(share - len(first), len(rest)).to(rest.device)] = True
                targets = rest[chosen]
                means, joined = join(frame * scales[t], frame, targets, rest[~chosen])
                own = torch.where(joined > 0, 0.5, 1.0).to(means.dtype).unsqueeze(-1)
                places.append(t * f + targets)
                values.append(torch.lerp(means, frame[targets], own))
        return keep_places(torch.cat(places).cpu(), features, torch.cat(values))
