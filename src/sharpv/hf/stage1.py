"""Stage 1 on the videos of one call, wherever their features were caught: which tokens stay."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sharpv.config import SharpVConfig
from sharpv.errors import InputError
from sharpv.hf.layout import VideoLayout
from sharpv.hf.positions import upload
from sharpv.methods import Selection, TokenPruner, needs_attention
from sharpv.report import VideoReport

__all__ = ["Placed", "keep_all", "keep_tokens", "place"]


class Placed(NamedTuple):
    """A video and the row of the batch that its placeholders stand in."""

    row: int
    layout: VideoLayout


def place(layouts: Sequence[VideoLayout], counts: Sequence[int]) -> tuple[list[Placed], int]:
    """Gives each row of a batch its videos, by the number of its placeholders.

    Args:
        layouts: the videos of the request, in order.
        counts: video placeholders per row.

    Returns:
        The videos in the order in which their tokens stand in the batch, and how often each row of the
        request is repeated in it (beams and return sequences repeat rows as `[A, A, B, B]`).

    Raises:
        InputError: the counts do not add up.
    """
    wanted = sum(layout.tokens for layout in layouts)
    repeats, rest = divmod(sum(counts), max(wanted, 1))
    placed: list[Placed] = []
    videos = iter(layouts)
    for row in range(0, len(counts), max(repeats, 1)):
        left, group = counts[row], []
        while left > 0 and (layout := next(videos, None)) is not None:
            group.append(layout)
            left -= layout.tokens
        rest = rest or left
        placed += [Placed(row + copy, layout) for copy in range(repeats) for layout in group]
    if rest or not repeats:
        raise InputError(
            f"got {list(counts)} video placeholders per row for videos of "
            f"{[layout.tokens for layout in layouts]} tokens: build prompt and pixels with the model's own "
            "processor, and feed the whole prompt at once"
        )
    return placed, repeats


def keep_tokens(
    features: Tensor,
    placed: Sequence[Placed],
    repeats: int,
    config: SharpVConfig,
    pruner: TokenPruner,
    attention: Tensor | None = None,
) -> tuple[Tensor, Tensor, tuple[VideoReport, ...]]:
    """Chooses the tokens of each video.

    Args:
        features: `[tokens, d]`, those of all videos one after another, separators among them.
        placed: the videos, in that order.
        repeats: copies of each row in the batch; the records name the request's own rows, once.
        config: what to keep.
        pruner: the method that chooses.
        attention: `[tokens]`, what they received in the vision tower, or None where it was not read.

    Returns:
        bool `[tokens]` on the host; the features, with the values that kept tokens take where the method
        merges, or else the very tensor that came; and one record per video of the request.

    Raises:
        InputError: features that are not finite, or no attention for a method that needs it.
    """
    keep = torch.ones(len(features), dtype=torch.bool)
    records = []
    values, start = features, 0
    for row, layout in placed:
        n, f = layout.frames, layout.tokens_per_frame
        frames = slice(start, start + n * f)
        looked_at = None if attention is None else attention[frames].view(n, f)
        chosen = _select(pruner, features[frames].view(n, f, -1), config, layout, looked_at)
        mask = chosen.mask.cpu()
        keep[frames] = mask.flatten()
        if chosen.merged is not None:
            values = features.clone() if values is features else values
            places = upload(start + mask.flatten().nonzero().flatten(), features.device)
            values[places] = chosen.merged.to(features.dtype)
        start += layout.tokens
        if row % repeats == 0:
            kept = tuple(map(tuple, mask.tolist()))
            records.append(_record(row // repeats, layout, chosen.ratios, kept, chosen.merged is not None))
    return keep, values, tuple(records)


def _select(
    pruner: TokenPruner, features: Tensor, config: SharpVConfig, layout: VideoLayout, attention: Tensor | None
) -> Selection:
    # Pruners take a grid for that of all f tokens.
    grid = None if layout.leading else layout.grid
    if needs_attention(pruner):
        return pruner.select(features, config, grid, attention)
    return pruner.select(features, config, grid)


def keep_all(placed: Sequence[Placed], repeats: int = 1) -> tuple[VideoReport, ...]:
    """Returns the records of videos that enter the LLM whole; `repeats` as for `keep_tokens`."""
    return tuple(
        _record(row // repeats, layout, (), ((True,) * layout.tokens_per_frame,) * layout.frames)
        for row, layout in placed
        if row % repeats == 0
    )


def _record(
    row: int,
    layout: VideoLayout,
    ratios: tuple[float, ...],
    kept: tuple[tuple[bool, ...], ...],
    merged: bool = False,
) -> VideoReport:
    return VideoReport(
        row=row,
        frames=layout.frames,
        tokens_per_frame=layout.tokens_per_frame,
        separators=layout.separators,
        ratios=ratios,
        kept=kept,
        merged=merged,
        leading=layout.leading,
        grid=layout.grid,
        source_frames=layout.source_frames,
        window=None if layout.cropped else layout.window,
    )
