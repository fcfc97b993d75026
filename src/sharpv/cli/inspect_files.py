"""The files that `sharpv inspect` writes: the name of each says what goes into it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import typer

from sharpv._files import same_file, whole_file
from sharpv.errors import InputError
from sharpv.viz.inspection import Inspection

__all__ = ["File", "plan", "write"]

Kind = Literal["page", "movie", "strip", "layers", "budget"]
_KINDS: dict[str, Kind] = {".html": "page", ".mp4": "movie"}
_KINDS |= dict.fromkeys((".png", ".jpg", ".jpeg"), "strip")
_PLOTS: tuple[Kind, ...] = ("layers", "budget")
MAKER = "sharpv inspect"
ACCEPTED = "name a *.html, *.mp4, *.png or *.jpg, or layers*.svg or budget*.svg (or *.png)"


@dataclass(frozen=True, slots=True)
class File:
    """A file to write.

    Attributes:
        path: where to.
        kind: what goes into it.
        all_frames: of a movie: whether it shows all frames of the clip.
    """

    path: Path
    kind: Kind
    all_frames: bool = False


def plan(paths: Sequence[Path], source: str, *, all_frames: bool) -> list[File]:
    """Says what goes into each file, before any work that could not be saved.

    Args:
        paths: of the files.
        source: the clip, which none of them may be.
        all_frames: whether a movie shows all frames of the clip.

    Raises:
        typer.BadParameter: a name that says nothing, one given twice, or `all_frames` without a movie.
        InputError: a folder that is not there, the clip itself, or a plot without matplotlib.
    """
    files = [File(path, _kind(path), all_frames) for path in paths]
    if len(set(paths)) < len(paths):
        raise typer.BadParameter("names a file twice", param_hint="--output")
    if all_frames and not any(file.kind == "movie" for file in files):
        raise typer.BadParameter("is for a film: give -o overlay.mp4", param_hint="--all-frames")
    for file in files:
        if not file.path.parent.is_dir():
            raise InputError(f"cannot write {str(file.path)!r}: there is no folder {str(file.path.parent)!r}")
        if same_file(file.path, source):
            raise InputError(
                f"cannot write {str(file.path)!r}: it is the clip, which would be gone: give another name"
            )
        if file.kind in _PLOTS:
            _require_matplotlib(file.path)
    return files


def _kind(path: Path) -> Kind:
    suffix, stem = path.suffix.lower(), path.stem.lower()
    plot = next((kind for kind in _PLOTS if stem.startswith(kind)), None)
    if plot is not None and suffix in (".svg", ".png"):
        return plot
    if suffix not in _KINDS or (plot is not None and _KINDS[suffix] == "strip"):
        raise typer.BadParameter(
            f"{str(path)!r} does not say what to write: {ACCEPTED}", param_hint="--output"
        )
    return _KINDS[suffix]


def _require_matplotlib(path: Path) -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"cannot draw {str(path)!r} ({error}): plots need matplotlib, pip install 'sharpv[viz]'"
        ) from error


def write(found: Inspection, file: File, source: str) -> None:
    """Writes one file; pictures of one method are of the first.

    Args:
        found: what to show.
        file: where to, and what.
        source: the clip, read again for a movie of all its frames.

    Raises:
        InputError: the file cannot be written.
        VideoError: a movie cannot be written, or its source not read again.
    """
    try:
        with whole_file(file.path) as part:
            _WRITERS[file.kind](found, replace(file, path=part), source)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {str(file.path)!r}: {reason}; give another file") from error


def _page(found: Inspection, file: File, source: str) -> None:
    from sharpv.viz.page import write_page

    write_page(found, file.path)


def _movie(found: Inspection, file: File, source: str) -> None:
    from sharpv.viz.movie import write_all_frames, write_sampled

    report = found.runs[0].report
    if file.all_frames:
        write_all_frames(source, found.timestamps, report, file.path)
    else:
        write_sampled(found.frames, found.timestamps, report, file.path)


def _strip(found: Inspection, file: File, source: str) -> None:
    from sharpv.viz.pictures import strip

    strip(found.frames, found.runs[0].report, timestamps=found.timestamps).save(file.path)


def _layers(found: Inspection, file: File, source: str) -> None:
    from sharpv.viz.plots import layers, save

    save(layers(found.runs[0].report), file.path, MAKER)


def _budget(found: Inspection, file: File, source: str) -> None:
    from sharpv.viz.plots import budget, save

    save(budget(found.runs[0].report, timestamps=found.timestamps), file.path, MAKER)


_WRITERS: dict[Kind, Callable[[Inspection, File, str], None]] = {
    "page": _page,
    "movie": _movie,
    "strip": _strip,
    "layers": _layers,
    "budget": _budget,
}
