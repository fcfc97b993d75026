"""The first stage of DyCoke, temporal token merging or TTM (arXiv 2411.15024)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.core.eager import eager
from sharpv.core.scores import score
from sharpv.core.select import share_tokens, top_mask
from sharpv.methods.base import Budgeted, Selection, budget, stride

__all__ = ["DyCoke"]

_WINDOW = 4


@dataclass(frozen=True, slots=True)
class DyCoke(Budgeted):
    """Keeps every fourth frame whole, and of the others the tokens least like a frame kept near by.

    For x `[n, f, d]` in windows of 4 frames: frame 0 of a window is whole; frames 1 and 2 are compared with
    frame 0, frame 3 with frame 2, place by place; each keeps the same number of tokens, those of the lowest
    `cos(x_t,i, x_ref(t),i)`. O(n f d).

    The paper's share K of dropped tokens follows from `retention`, since the whole frames are not touched:
    its default K = 0.7 is a retention of 0.475, K = 1 one of 0.25. It is the same for every video, so
    `retention="adaptive"` is refused.

    What differs:
        - Faults of the published code that are repaired: the last frame of an odd number of frames is not
          lost; the last window is thinned like the others (there, two of its frames stay whole), also where
          it is cut short; fewer than 5 frames are no error; kept tokens stay in raster order.
        - The budget is exact: frames that share it differ by one token at most, the earlier one having more.
        - Below 1/4 the rule has no answer. The whole frames then share the budget, each at an even stride
          (`stride`), and the other frames keep nothing.
        - Nothing is averaged, in the paper's name "merging" or here: similar tokens are dropped.
        - The second stage, which picks tokens anew at each step of decoding, needs attention scores and is
          not here.
    """

    name: ClassVar[str] = "dycoke"

    @eager
    def select(
        self, features: Tensor, config: SharpVConfig, grid: tuple[int, int] | None = None
    ) -> Selection:
        """Shares the budget over the frames, and ranks each frame's tokens by their change."""
        # T^2 / 2 = 1 - cos, so that the order by T is the order by falling cosine.
        change = score(features).temporal
        change[2::_WINDOW] = score(features[::2]).temporal[1::2]
        n, f = change.shape
        counts = _counts(budget(config, n, f), n, f)
        for t in range(0, n, _WINDOW):
            change[t, stride(int(counts[t]), f).to(change.device)] = torch.inf
        return Selection(top_mask(change, counts))


def _counts(total: int, n: int, f: int) -> Tensor:
    """Returns int64 `[n]`: whole frames for the first of each window, equal shares of the rest."""
    counts = torch.zeros(n, dtype=torch.long)
    whole = torch.arange(n) % _WINDOW == 0
    references = int(whole.sum())
    on_references = min(total, references * f)
    counts[whole] = torch.tensor(share_tokens(on_references, [1] * references, 0, f))
    counts[~whole] = torch.tensor(
        share_tokens(total - on_references, [1] * (n - references), 0, f), dtype=torch.long
    )
    return counts
