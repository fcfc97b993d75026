"""Made-up inspections: random features, real scores and real choices, no model."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sharpv.config import SharpVConfig
from sharpv.core import Scores, anchor_order, score, select
from sharpv.methods import METHODS
from sharpv.report import LayerReport, Report, ReuseReport, VideoReport
from sharpv.viz.inspection import Inspection, Run, TokenScores

__all__ = ["BUDGET", "TEXT", "chosen", "inspection", "mask_of"]

BUDGET = SharpVConfig(retention=0.3)
TEXT = 40
CELL = 16
SIMILARITIES = (1.0, 0.7, 0.4, 0.15, -0.05)


def inspection(
    n: int = 6,
    grid: tuple[int, int] = (4, 5),
    methods: tuple[str, ...] = ("sharpv",),
    config: SharpVConfig = BUDGET,
    leading: int = 0,
    source_frames: int = 1,
    last_holds: int | None = None,
    placed: bool = True,
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    still: bool = False,
    reuse: ReuseReport | None = None,
    **fields: Any,
) -> Inspection:
    """Looks at n frames of the LLM, whose tokens fill `grid` after the leading ones.

    Frames show a flat square of 16 pixels for each cell of the grid. A still clip never changes.
    """
    rng, f = np.random.default_rng(n + leading), leading + grid[0] * grid[1]
    features = torch.from_numpy(rng.standard_normal((n, f, 12), dtype=np.float32))
    # A scene that changes a little each time, and wholly in the middle.
    features[1:] = features[0] + 0.3 * features[1:] + torch.arange(1, n)[:, None, None].ge(n / 2) * 3
    if still:
        features = features[:1].repeat(n, 1, 1)
    m = n * source_frames - (source_frames - (last_holds or source_frames))
    colours = rng.integers(40, 256, (m, *grid, 3), dtype=np.uint8)
    scores = score(features, config.spatial_weight)
    video = VideoReport(
        row=0,
        frames=n,
        tokens_per_frame=f,
        ratios=(),
        kept=(),
        leading=leading,
        grid=grid if placed else None,
        source_frames=source_frames,
        window=window if placed else None,
        reuse=reuse,
    )
    shape = grid if not leading else (1, f)
    runs = []
    for method in methods:
        selection = METHODS[method].select(features, config, shape)
        kept = tuple(map(tuple, selection.mask.tolist()))
        runs.append(run(replace(video, kept=kept, ratios=selection.ratios), config, method))
    return replace(
        Inspection(
            clip="clip.mp4",
            frames=colours.repeat(CELL, axis=1).repeat(CELL, axis=2),
            timestamps=np.arange(m) / 4,
            total_frames=10 * m,
            model="a model",
            question="What happens?",
            dense_answer="It moves.",
            runs=tuple(runs),
            scores=TokenScores(*(part.numpy() for part in (scores.spatial, scores.temporal, scores.ratios))),
            anchors=anchor_order(*shape),
            command=("sharpv", "inspect", "clip.mp4", "-q", "What happens?", "-o", "report.html"),
            notes=("A note.",),
        ),
        **fields,
    )


def run(video: VideoReport, config: SharpVConfig, method: str) -> Run:
    """Returns a run whose cache holds a kilobyte per token."""
    threshold, layers = config.memory_threshold, ()
    if threshold is not None:
        layers = tuple(
            LayerReport(layer=i, similarity=(value,), dropped=(value < threshold,))
            for i, value in enumerate(SIMILARITIES)
        )
    report = Report(
        model="llava_onevision",
        config=config,
        prompt_tokens=(video.tokens_total + TEXT,),
        prompt_tokens_kept=(video.tokens_kept + TEXT,),
        method=method,
        videos=(video,),
        layers=layers,
        cache_bytes=(video.tokens_kept + TEXT) * 1000,
        dense_cache_bytes=(video.tokens_total + TEXT) * 1000,
        versions={"sharpv": "1.2.3", "torch": "2.9.0"},
    )
    return Run(report, f"{method} says so.")


def mask_of(run: Run) -> np.ndarray:
    """Returns what a run shows, as 0 and 1 `[n, f]`."""
    return np.array(run.kept, dtype=int)


def chosen(scores: TokenScores, config: SharpVConfig, grid: tuple[int, int]) -> np.ndarray:
    """Returns Python's choice from scores alone, as 0 and 1 `[n, f]`."""
    spatial, temporal, ratios = map(torch.from_numpy, (scores.spatial, scores.temporal, scores.ratios))
    importance = temporal + config.spatial_weight * spatial
    if config.spatial_weight == 0:
        importance[0] = spatial[0]
    return select(Scores(spatial, temporal, importance, ratios), config, grid).int().numpy()
