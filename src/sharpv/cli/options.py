"""The options that commands share, by the names that YAML and Python use too."""

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Bucket",
    "ClipFrames",
    "ConfigFile",
    "Coverage",
    "Debug",
    "Dense",
    "Device",
    "Diversity",
    "Dtype",
    "Fps",
    "Frames",
    "Json",
    "MaxNewTokens",
    "MaxSide",
    "MemoryThreshold",
    "Method",
    "MinTokens",
    "Model",
    "NoMemory",
    "Retention",
    "Seed",
    "Size",
    "SpatialWeight",
    "Split",
    "Threshold",
    "VisionReuse",
]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one line of JSON.")]

Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Model directory, hub id owner/name, or toy:dense. [default: the toy]"
    ),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str | None, typer.Option(help="Such as cpu or cuda:0. [default: CUDA if any]")]
MaxNewTokens = Annotated[int, typer.Option(min=1, help="The most tokens of the answer.")]

Frames = Annotated[
    int | None, typer.Option(min=1, help="Frames to read, evenly spread. [default: 32; for the toy 8]")
]
Fps = Annotated[float | None, typer.Option(help="Frames to read per second, instead of --frames.")]
MaxSide = Annotated[
    int | None,
    typer.Option(min=1, help="Scale frames down to this longer side as they are read, to save memory."),
]

Split = Annotated[str, typer.Option(help="train, validation, test or combinations.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**32 - 1, help="Another seed, another dataset of the same split.")
]
ClipFrames = Annotated[int, typer.Option(min=4, max=32, help="Frames of each clip.")]
Size = Annotated[int, typer.Option(min=16, help="Side of a frame in pixels.")]

ConfigFile = Annotated[
    Path | None, typer.Option(help="YAML file with SharpVConfig fields; options override it.")
]
Method = Annotated[str, typer.Option(help="What chooses the tokens: sharpv, or another of `sharpv methods`.")]
Retention = Annotated[
    str | None, typer.Option(help="'adaptive' or the share of tokens to keep. [default: adaptive]")
]
Threshold = Annotated[
    float | None, typer.Option(help="Keep every token of at least this importance, instead.")
]
SpatialWeight = Annotated[
    float | None,
    typer.Option(help="w of importance I = T + w S: how much a token's frame counts. [default: 1]"),
]
Coverage = Annotated[
    float | None, typer.Option(help="Share of each frame's tokens spent on fixed places. [default: 0]")
]
Diversity = Annotated[
    bool, typer.Option("--diversity", help="Choose tokens of a frame that are unlike each other.")
]
Bucket = Annotated[
    int | None,
    typer.Option(help="Round the number of tokens kept up to a multiple of this. [default: 1]"),
]
MinTokens = Annotated[
    int | None,
    typer.Option("--min-tokens-per-frame", help="The least tokens kept of each frame. [default: 1]"),
]
MemoryThreshold = Annotated[
    float | None, typer.Option(help="Layers less similar than this drop their video. [default: 0.2]")
]
VisionReuse = Annotated[
    Literal["balanced", "safe"] | None,
    typer.Option(
        help="Encode only patches that changed: balanced, or safe, which reuses less. [default: all]"
    ),
]
NoMemory = Annotated[bool, typer.Option("--no-memory", help="Keep the video in every layer.")]
Dense = Annotated[bool, typer.Option("--dense", help="Prune nothing.")]
