"""`sharpv demo`: a clip of a made world, five questions about it, dense and pruned. No download."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug, Device, Dtype, Json
from sharpv.errors import InputError

if TYPE_CHECKING:
    from sharpv.cli.demo_run import Demo

__all__ = ["MAKER", "demo"]

MAKER = "sharpv demo"
CLIP, REPORT, PICTURE = "clip.mp4", "report.json", "kept.png"
PER_ROW = 4


def demo(
    save: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"Keep {CLIP}, {REPORT} and {PICTURE} there.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the clip.")] = 0,
    dtype: Dtype = "float32",
    device: Device = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """See it work: a toy model answers about a made clip, dense and pruned."""
    if save is not None:
        _prepare(save)
    output.progress("starting ...")
    from sharpv.cli.demo_run import run_demo
    from sharpv.hf.ask import load_model

    shown = run_demo(seed, lambda: load_model(dtype=dtype, device=device), output.progress)
    if json:
        output.result(shown.to_dict())
    else:
        from sharpv.cli.demo_show import pages

        output.show(pages(shown, output.terminal()))
    if save is not None:
        _save(shown, save)
        output.progress(f"saved {CLIP}, {REPORT} and {PICTURE} in {save}")


def _prepare(folder: Path) -> None:
    """Makes the folder, before time is spent on what cannot be saved."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _ours(folder):
            for name in (CLIP, REPORT, PICTURE):
                if (folder / name).exists():
                    raise InputError(
                        f"{str(folder / name)!r} exists and is not of a demo: give another folder"
                    )
        probe = folder / f".{REPORT}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _ours(folder: Path) -> bool:
    """Whether the folder holds an earlier demo."""
    try:
        found = json_module.loads((folder / REPORT).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("made_by") == MAKER


def _save(shown: "Demo", folder: Path) -> None:
    from sharpv.viz import strip

    picture = strip(
        shown.video.frames, shown.rows[0].pruned.report, timestamps=shown.video.timestamps, per_row=PER_ROW
    )
    try:
        (folder / REPORT).write_text(json_module.dumps(shown.to_dict(), allow_nan=False) + "\n")
        (folder / CLIP).write_bytes(shown.clip)
        picture.save(folder / PICTURE)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"cannot write to {str(folder)!r}: {error.strerror or error}; give a folder of yours with --save, or "
        "leave it out"
    )
