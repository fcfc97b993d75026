"""`sharpv calibrate`: how well the pixels of clips tell how many tokens a model's features would keep."""

from typing import Annotated

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug, Device, Dtype, Json, Model

__all__ = ["calibrate"]

QUESTION = "What happens?"


def calibrate(
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIP...", help="Clips like those to serve, at least 2.", show_default=False),
    ],
    model: Model = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames to read, evenly spread.")] = 32,
    dtype: Dtype = "auto",
    device: Device = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit the gain with which `sharpv serve --keep auto` estimates how many tokens to keep.

    Each clip is estimated with the gain that fits the others, and held against the adaptive mode.
    """
    from sharpv.config import SharpVConfig
    from sharpv.core.scores import score
    from sharpv.engines.vllm.estimate import Calibration, Sample, video_patches
    from sharpv.hf.ask import DEFAULT_MODEL, ask, build_inputs, load_model
    from sharpv.video import Sampling, read_video

    output.progress("loading the model ...")
    loaded = load_model(DEFAULT_MODEL if model is None else model, dtype, device)
    config = SharpVConfig(memory_threshold=None)
    samples = []
    for path in clips:
        output.progress(f"encoding {path} ...")
        clip = read_video(path, Sampling(frames=frames))
        (video,) = ask(loaded, clip, QUESTION, config, max_new_tokens=1).report.videos
        n, f = video.frames, video.tokens_per_frame
        pixels = build_inputs(loaded.processor, clip, QUESTION)["pixel_values_videos"]
        pixel_ratios = score(video_patches(pixels, n, f)).ratios
        samples.append(Sample(pixel_ratios, pixel_ratios.new_tensor(video.ratios), f))
    found = Calibration(samples)
    rows = [
        {"clip": path, "adaptive": sample.tokens, "estimated": estimated, "error": round(error, 4)}
        for path, sample, estimated, error in zip(clips, samples, found.left_out, found.errors, strict=True)
    ]
    mean = sum(map(abs, found.errors)) / len(rows)
    if json:
        output.result({"gain": round(found.gain, 4), "mean_error": round(mean, 4), "clips": rows})
        return
    output.table(list(rows[0]), [list(row.values()) for row in rows])
    output.answer(f"gain {found.gain:.4f}, off by {mean:.0%} on average on clips left out of the fit")
