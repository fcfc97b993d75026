"""What docs/reuse.py measures for docs/vision-reuse.md: shares of clips, small text, noise, and time."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sharpv.bench.where import where
from sharpv.config import SharpVConfig, VisionReuse
from sharpv.core import plan_reuse
from sharpv.hf.ask import build_inputs
from sharpv.hf.families import require_family
from sharpv.hf.reuse.levels import HALF
from sharpv.hf.reuse.supported import reusable_tower
from sharpv.tiny.shapes import build_shape
from sharpv.video import Sampling, read_video

SHAPE, UNIT, SIDE, QWEN = "llava-onevision-0.5b", 14, 384, "qwen2.5-vl-3b"
FRAMES, MOST_FRAMES = 32, 64
SAMPLINGS = {f"{FRAMES} frames": {"frames": FRAMES}, "2 per second": {"fps": 2}, "8 per second": {"fps": 8}}
DEFAULT = VisionReuse()
RULES = {
    "balanced": DEFAULT,
    "safe": SharpVConfig(vision_reuse="safe").reuse or DEFAULT,
    "cells at 8 alone": VisionReuse(threshold=8, texture=255),
}
KEEN = {"balanced": DEFAULT, "threshold=3": VisionReuse(threshold=3)}
"""The rules that are shown small text."""

HEIGHTS, CONTRASTS, BACKGROUND = (8, 10, 12, 14, 18, 24), (30, 60, 100, 155), 60
WINDOW, OFFSETS = 4 * UNIT, range(0, UNIT, 4)
NOISE, STILL_FRAMES = (0.01, 0.02, 0.03, 0.05), 16
SPEED_OPTIONS = (
    *("--vision-reuse", "balanced", "--retention", "0.12"),
    *("--repeats", "3", "--new-tokens", "2", "--minutes", "60"),
)


def shares(clips: Sequence[str]) -> dict[str, Any]:
    """Returns the share of patches that SigLIP encodes of each clip, by sampling and by rule."""
    found: dict[str, Any] = {}
    for clip in clips:
        path = Path(clip)
        sys.stderr.write(f"{path.name}\n")
        found[path.name] = {name: _shares_of(path, given) for name, given in SAMPLINGS.items()}
        found[path.name]["qwen"] = _share_of_qwen(path)
    return {"clips": found, **_place()}


def _shares_of(path: Path, sampling: dict[str, Any]) -> dict[str, Any]:
    levels = _levels(path, Sampling(**sampling))
    plans = {rule: plan_reuse(levels, UNIT, settings) for rule, settings in RULES.items()}
    return {
        "frames": len(levels),
        "share": {rule: plan.share for rule, plan in plans.items()},
        "full_frames": {rule: plan.full_frames for rule, plan in plans.items()},
    }


def _share_of_qwen(path: Path) -> dict[str, Any]:
    """Returns the share of Qwen2.5-VL, whose processor keeps the shape of the clip."""
    model, processor = build_shape(QWEN, torch.float32, device="meta", layers=1)
    inputs = build_inputs(processor, read_video(path, Sampling(frames=FRAMES)), "What happens?")
    base, family = model.base_model, require_family(model.config.model_type)
    tower, way = reusable_tower(base, family)
    layouts = family.layouts(inputs, base, [int((inputs["input_ids"] == base.config.video_token_id).sum())])
    levels = way.normalization.levels(way.frames(tower, inputs, layouts)[0]).clamp_(0, 255)
    unit, patch = way.sides(tower)
    plan = plan_reuse(levels, unit, DEFAULT, patch)
    return {"frames": 2 * len(plan.source), "patches": plan.total, "share": {"balanced": plan.share}}


def _levels(path: Path, sampling: Sampling) -> Tensor:
    """Returns the frames that SigLIP is given, of long samplings those in the middle, as levels."""
    video = read_video(path, sampling)
    start = max(len(video.frames) - MOST_FRAMES, 0) // 2
    middle = slice(start, start + MOST_FRAMES)
    _, processor = build_shape(SHAPE, torch.float32, device="meta", layers=1)
    pixels = processor.video_processor(list(video.frames[middle]), return_tensors="pt")
    return HALF.levels(pixels["pixel_values_videos"][0]).clamp_(0, 255)


def text() -> dict[str, Any]:
    """Returns which changes of a digit are noticed, and what noise costs a still picture, by rule."""
    seen = {
        str(height): {
            str(contrast): {rule: _noticed(height, contrast, settings) for rule, settings in KEEN.items()}
            for contrast in CONTRASTS
        }
        for height in HEIGHTS
    }
    picture = _digits(60, 155, "0123456789")[:SIDE, :SIDE].float()
    noise = torch.Generator().manual_seed(0)
    still = {}
    for sigma in NOISE:
        drawn = torch.randn(STILL_FRAMES, 3, SIDE, SIDE, generator=noise) * 255 * sigma
        video = (picture.expand(STILL_FRAMES, 3, -1, -1) + drawn).clamp(0, 255)
        still[f"{sigma:g}"] = {
            rule: plan_reuse(video, UNIT, settings).share for rule, settings in KEEN.items()
        }
    return {"noticed": seen, "noise": still, "still_frames": STILL_FRAMES, **_place()}


def _noticed(height: int, contrast: int, settings: VisionReuse) -> float:
    """Returns the share of changes of a digit into another that make a patch be encoded, over all places."""
    glyphs = [_digits(height, contrast, str(digit)) for digit in range(10)]
    seen = [
        plan_reuse(torch.stack([_placed(glyphs[a], y, x), _placed(glyphs[b], y, x)]), UNIT, settings)
        .computed[1]
        .any()
        for a, b in ((a, b) for a in range(10) for b in range(a))
        for y in OFFSETS
        for x in OFFSETS
    ]
    return float(torch.stack(seen).float().mean())


def _digits(height: int, contrast: int, text: str) -> Tensor:
    """Returns a text whose digits are so many pixels high, in grey levels: uint8 `[H, W]`."""
    size = height
    while _height(size) < height:
        size += 1
    font = ImageFont.load_default(size)
    left, top, right, _ = font.getbbox("0123456789")
    image = Image.new("L", (max(SIDE, WINDOW, int(right - left)), max(SIDE, WINDOW)), BACKGROUND)
    ImageDraw.Draw(image).text((-left, -top), text, fill=BACKGROUND + contrast, font=font)
    return torch.from_numpy(np.asarray(image).copy())


def _height(size: int) -> float:
    _, top, _, bottom = ImageFont.load_default(size).getbbox("0123456789")
    return bottom - top


def _placed(glyph: Tensor, y: int, x: int) -> Tensor:
    """Returns a glyph a little further down and to the right, as a frame `[3, WINDOW, WINDOW]`."""
    frame = torch.full((WINDOW, WINDOW), BACKGROUND, dtype=torch.uint8)
    frame[y:, x:] = glyph[: WINDOW - y, : WINDOW - x]
    return frame.expand(3, -1, -1)


def speed(folder: Path, clips: Sequence[str], options: Sequence[str]) -> None:
    """Times each clip that has no result yet by `sharpv bench latency`, each in a process of its own.

    Args:
        folder: for speed-CLIP.json, which appears when the clip is done.
        clips: paths.
        options: of the command, after those of `SPEED_OPTIONS`.
    """
    for clip in clips:
        out = folder / f"speed-{Path(clip).stem}.json"
        if out.exists():
            sys.stderr.write(f"{out} is there\n")
            continue
        part = out.with_suffix(".part")
        command = [sys.executable, "-m", "sharpv.cli", "bench", "latency", "--shape", SHAPE, "--video", clip]
        done = subprocess.run(
            [*command, *SPEED_OPTIONS, *options, "-o", str(part)], stdout=subprocess.DEVNULL
        )
        if done.returncode:
            sys.exit(f"{clip}: bench latency ended with {done.returncode}")
        part.rename(out)


def save(path: Path, result: dict[str, Any]) -> None:
    """Writes a result as JSON, with as many digits as a page can need."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(_rounded(result), indent=1, allow_nan=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _place() -> dict[str, Any]:
    return {key: value for key, value in where("cpu").items() if key in ("versions", "commit")}
