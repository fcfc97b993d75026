"""Times the choice of tokens: score and select, against one read of the same features."""

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sharpv.bench.clock import wait
from sharpv.bench.where import where
from sharpv.config import SharpVConfig
from sharpv.core.scores import Scores, score
from sharpv.core.select import keep_mask, select

__all__ = ["DTYPES", "SHAPES", "run"]

Shape = tuple[int, int, int]
SHAPES: tuple[Shape, ...] = ((32, 196, 896), (32, 196, 3584), (128, 196, 3584))
DTYPES = ("float32", "bfloat16")
SHOT_FRAMES = 8
FRAME_CORRELATION = 0.97
SCORE_TOLERANCE = 1e-5


def run(
    shapes: Sequence[Shape] = SHAPES,
    dtypes: Sequence[str] = DTYPES,
    repeats: int = 9,
    threads: int = 1,
    device: str = "cpu",
    seed: int = 0,
    log: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Checks and times every shape in every dtype.

    Three sides take turns, after one round of warm-up: `features.sum()`, which is one read of the memory;
    `keep_mask` in its default configuration; and the same rule written with `F.cosine_similarity` over the
    whole video. Wall time; neither the vision tower nor the gather of the kept tokens is included.

    Args:
        shapes: `(frames, tokens per frame, channels)` each.
        dtypes: names of torch dtypes.
        repeats: timed rounds, at least 7 for a figure to publish.
        threads: of torch on the CPU; set back afterwards.
        device: a torch device.
        seed: of the synthetic features.
        log: takes one line per case as it is done.

    Returns:
        `cases` (shape, dtype, kept share, the largest score error, milliseconds and ratios to the sum as
        median, min and max over the rounds) and where they were measured: device, threads, versions, commit.

    Raises:
        RuntimeError: the scores differ from float64 by more than 1e-5, so that no time is worth measuring.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        cases = []
        for shape, dtype in product(shapes, dtypes):
            features = video_like(shape, seed).to(device, getattr(torch, dtype))
            cases.append(
                {"shape": list(shape), "dtype": dtype, **_check(features), **_time(features, repeats)}
            )
            log(_line(cases[-1]))
        place = where(device)
    finally:
        torch.set_num_threads(before)
    return {"bench": "scoring", "cases": cases, "repeats": repeats, "seed": seed, **place}


def video_like(shape: Shape, seed: int) -> Tensor:
    """Makes features that behave like a video's: slow change within shots, cuts between them.

    Args:
        shape: `(n, f, d)`.
        seed: the same seed gives the same features.

    Returns:
        float32 `[n, f, d]` on the CPU: an autoregressive process of order 1 with correlation 0.97 from frame
        to frame, restarted every 8 frames, plus a mean per position; all with unit variance.
    """
    n, f, d = shape
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, f, d, generator=generator)
    mean = torch.randn(f, d, generator=generator)
    for t in range(n):
        if t % SHOT_FRAMES:
            features[t].mul_((1 - FRAME_CORRELATION**2) ** 0.5).add_(features[t - 1], alpha=FRAME_CORRELATION)
    return features.add_(mean)


def whole_tensor_mask(features: Tensor) -> Tensor:
    """Applies the default rule the short way, as the side to compare with: `[n, f, d]` to bool `[n, f]`."""
    x = features.float()
    spatial = (2 - 2 * F.cosine_similarity(x, x.mean(1, keepdim=True), dim=-1)).clamp(min=0).sqrt()
    temporal = torch.zeros_like(spatial)
    temporal[1:] = (2 - 2 * F.cosine_similarity(x[1:], x[:-1], dim=-1)).clamp(min=0).sqrt()
    size = torch.cat([spatial[:1], temporal[1:]]).square().mean(-1)
    return select(Scores(spatial, temporal, spatial + temporal, size.sqrt() / 2), SharpVConfig())


def _check(features: Tensor) -> dict[str, float]:
    """Compares scores and mask with float64, frame by frame, and the whole-tensor side's mask with ours."""
    scores, mask = score(features), keep_mask(features, SharpVConfig())
    error, past = 0.0, None
    for t, frame in enumerate(features):
        unit = F.normalize(frame.double(), dim=-1)
        mean = F.normalize(frame.double().mean(0), dim=0)
        truth = {"spatial": (unit - mean).norm(dim=-1)}
        if past is not None:
            truth["temporal"] = (unit - past).norm(dim=-1)
        for name, value in truth.items():
            error = max(error, float((getattr(scores, name)[t] - value).abs().max()))
        past = unit
    if not error <= SCORE_TOLERANCE:
        raise RuntimeError(f"scores of {list(features.shape)} {features.dtype} are off by {error:.2g}")
    same = (mask == whole_tensor_mask(features)).float().mean()
    return {
        "kept_share": round(float(mask.float().mean()), 4),
        "score_error": float(f"{error:.2g}"),
        "same_as_whole_tensor": round(float(same), 5),
    }


def _time(features: Tensor, repeats: int) -> dict[str, dict[str, list[float]]]:
    """Times the three sides in turn; returns milliseconds and ratios to the sum as [median, min, max]."""
    config = SharpVConfig()
    sides: dict[str, Callable[[], object]] = {
        "sum": features.sum,
        "sharpv": lambda: keep_mask(features, config),
        "whole_tensor": lambda: whole_tensor_mask(features),
    }
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats + 1):
        for name, side in sides.items():
            wait(features.device)
            start = time.perf_counter()
            side()
            wait(features.device)
            times[name].append((time.perf_counter() - start) * 1e3)
    rounds = {name: values[1:] for name, values in times.items()}
    ratios = {
        name: [mine / floor for mine, floor in zip(rounds[name], rounds["sum"], strict=True)]
        for name in ("sharpv", "whole_tensor")
    }
    return {
        "ms": {name: _spread(values) for name, values in rounds.items()},
        "times_sum": {name: _spread(values) for name, values in ratios.items()},
    }


def _spread(values: list[float]) -> list[float]:
    return [round(number, 3) for number in (statistics.median(values), min(values), max(values))]


def _line(case: dict[str, Any]) -> str:
    ms = {name: spread[0] for name, spread in case["ms"].items()}
    ratio = {name: spread[0] for name, spread in case["times_sum"].items()}
    return (
        f"{case['shape']} {case['dtype']}: sum {ms['sum']:.1f} ms, sharpv {ms['sharpv']:.1f} ms "
        f"({ratio['sharpv']:.1f}x), whole tensor {ms['whole_tensor']:.1f} ms ({ratio['whole_tensor']:.1f}x), "
        f"kept {case['kept_share']:.1%}"
    )
