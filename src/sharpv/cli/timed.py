"""What the benches of whole models time: the model and the clip; and how their JSON is written."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sharpv.cli import output

if TYPE_CHECKING:
    from sharpv.hf.ask import VideoModel

__all__ = ["Layers", "Out", "made_clip", "open_shape", "require_folder", "write"]

CLIP_SIZE = (360, 640)
CLIP_FPS = 24.0
CLIP_FRAMES = 240

Out = Annotated[Path | None, typer.Option("-o", "--out", help="Also write the JSON here.")]
Layers = Annotated[
    int | None, typer.Option(min=1, help="Build only the first so many layers of the LLM of --shape.")
]


def open_shape(name: str, dtype: str, device: str | None, layers: int | None) -> "VideoModel":
    """Builds a published size with random weights; what the user got wrong is a usage error."""
    from sharpv.bench.random_weights import open_shape
    from sharpv.hf.ask import DTYPES, find_device
    from sharpv.tiny.shapes import SHAPES

    for value, accepted, option in ((name, SHAPES, "--shape"), (dtype, DTYPES, "--dtype")):
        if value not in accepted:
            raise typer.BadParameter(f"{value!r} is none of {', '.join(accepted)}", param_hint=option)
    whole = SHAPES[name].layers
    if layers is not None and layers > whole:
        raise typer.BadParameter(f"{layers}: {name} has {whole}", param_hint="--layers")
    output.progress(f"building {name} with random weights ...")
    return open_shape(name, dtype, find_device(device), layers)


def made_clip(folder: Path, frames: int) -> str:
    """Writes a clip of a moving square with at least so many frames."""
    from sharpv.tiny.clip import moving_square
    from sharpv.video import write_video

    height, width = CLIP_SIZE
    path = folder / "clip.mp4"
    write_video(moving_square(max(frames, CLIP_FRAMES), height, width), path, fps=CLIP_FPS)
    return str(path)


def require_folder(out: Path | None) -> None:
    """Refuses, before anything is timed, a file that could not be written."""
    if out is not None and not out.resolve().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {out.parent}", param_hint="--out")


def write(result: dict[str, Any], out: Path | None) -> None:
    """Prints the line of JSON, and writes it to a file if asked."""
    if out is not None:
        out.write_text(json.dumps(result, allow_nan=False) + "\n")
    output.result(result)
