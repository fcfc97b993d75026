"""Which frames of a clip likely begin a new shot."""

from collections.abc import Sequence
from statistics import median

__all__ = ["CUT_RATIO", "CUT_TIMES", "likely_cuts"]

CUT_RATIO = 0.2
CUT_TIMES = 2


def likely_cuts(ratios: Sequence[float]) -> tuple[int, ...]:
    """Says which frames likely begin a new shot, by r_t alone.

    A frame does where its r_t is at least 0.2, at least twice the median of the clip, above that of the
    frame before and not below that of the frame after. The first frame takes no part: its ratio tells of the
    picture, not of a change.

    Args:
        ratios: r_t per frame, in [0, 1].

    Returns:
        Numbers of the frames, from 0, in order.
    """
    changes = ratios[1:]
    if not changes:
        return ()
    least = max(CUT_RATIO, CUT_TIMES * median(changes))
    neighbours = zip([0.0, *changes], changes, [*changes[1:], 0.0], strict=False)
    return tuple(
        t
        for t, (before, change, after) in enumerate(neighbours, start=1)
        if change >= least and before < change >= after
    )
