"""The page of an inspection: one HTML file that needs nothing else, and whose knobs a reader can turn."""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sharpv.errors import InputError
from sharpv.report import ReuseReport
from sharpv.viz.cuts import CUT_RATIO, CUT_TIMES, likely_cuts
from sharpv.viz.encoded import encoded_words
from sharpv.viz.inspection import Inspection
from sharpv.viz.page_data import live_config, live_run, page_data, view_names
from sharpv.viz.page_tables import figures, frame_rows, layer_rows, setting_rows

__all__ = ["page", "write_page"]

STYLE = "page.css"
# In the order in which the page runs them.
SCRIPTS = (
    "rule.js",
    "data.js",
    "text.js",
    "picture.js",
    "charts.js",
    "layers.js",
    "compare.js",
    "knobs.js",
    "page.js",
)


def page(inspection: Inspection) -> str:
    """Lays one clip out, as one or more methods saw it.

    The page asks for nothing outside itself: its policy forbids the browser every request but for pictures
    inside it, and every script but its own.

    Args:
        inspection: what to show.

    Returns:
        HTML: at most about 4 MB of pictures, and 11 bytes per token.

    Raises:
        InputError: runs, scores, frames or times that are not those of one clip.
    """
    _check(inspection)
    style, *scripts = (_source(name) for name in (STYLE, *SCRIPTS))
    html = (
        _environment()
        .get_template("page.html")
        .render(
            _facts(inspection),
            policy=_policy(style, scripts),
            style=Markup(style),
            scripts=[Markup(script) for script in scripts],
        )
    )
    # The name of a file may hold bytes that are no text.
    return html.encode("utf-8", "backslashreplace").decode("utf-8")


def write_page(inspection: Inspection, path: Path) -> None:
    """Writes the page to a file.

    Raises:
        InputError: as `page`.
        OSError: the file cannot be written.
    """
    path.write_text(page(inspection), encoding="utf-8")


def _facts(inspection: Inspection) -> dict[str, Any]:
    """Returns what the template speaks of."""
    runs, live, views = inspection.runs, live_run(inspection), view_names(inspection)
    main = live or runs[0]
    reuse = main.video.reuse
    cuts = likely_cuts(inspection.scores.ratios.tolist())
    said = (f"{run.name}: {note}" if len(runs) > 1 else note for run in runs for note in run.report.notes)
    return {
        "it": inspection,
        "video": main.video,
        "tower": None if reuse is None else encoded_words(reuse).replace("%", "\N{NO-BREAK SPACE}%"),
        "encoded": None if reuse is None else reuse.grid,
        "main": main,
        "live": live,
        "views": views,
        "placed": main.video.grid is not None and main.video.window is not None,
        "live_view": runs.index(live) if live else len(runs),
        "notes": (*inspection.notes, *said),
        "config": live_config(inspection),
        "rate": max(round(main.video.tokens_kept / main.video.tokens_total, 2), 0.01),
        "cuts": cuts,
        "cut_rule": (CUT_RATIO, CUT_TIMES),
        "figures": figures(main),
        "cost_rows": list(zip(*map(figures, runs), strict=True)),
        "frame_rows": frame_rows(inspection, cuts),
        "layer_rows": layer_rows(runs),
        "setting_rows": setting_rows(runs),
        "record": page_data(inspection, cuts),
    }


def _check(inspection: Inspection) -> None:
    frames, scores = inspection.frames, inspection.scores
    n, f = scores.spatial.shape
    video = inspection.runs[0].video
    shapes = {(run.video.frames, run.video.tokens_per_frame) for run in inspection.runs}
    if shapes != {(n, f)} or scores.temporal.shape != (n, f) or scores.ratios.shape != (n,):
        raise InputError(
            f"scores of {n} frames of {f} tokens, and runs of {sorted(shapes)}: give the runs and the scores "
            "of one clip"
        )
    if len(frames) != len(inspection.timestamps) or -(-len(frames) // video.source_frames) != n:
        raise InputError(
            f"{len(frames)} frames with {len(inspection.timestamps)} times, but the model read {n} frames of "
            f"{video.source_frames} each: give all frames that it read, each with its time"
        )
    _check_patches(video.reuse, n)
    if sorted(inspection.anchors) != list(range(f)):
        raise InputError(
            f"{len(inspection.anchors)} anchors for {f} tokens per frame: give each token's number once"
        )


def _check_patches(reuse: ReuseReport | None, n: int) -> None:
    if reuse is None or reuse.grid is None:
        return
    patches = reuse.grid[0] * reuse.grid[1]
    if [len(frame) for frame in reuse.computed] != [patches] * n:
        raise InputError(
            f"marks of {len(reuse.computed)} frames, but the model read {n} of {patches} patches: give a "
            "mark for each patch"
        )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sharpv.viz"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["plain"] = lambda number: repr(number).removesuffix(".0")
    return environment


def _source(name: str) -> str:
    return files("sharpv.viz").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, scripts: list[str]) -> str:
    """Returns the Content-Security-Policy that lets this style and these scripts in, and nothing else."""
    return "; ".join(
        (
            "default-src 'none'",
            "img-src data:",
            f"style-src {_hash(style)}",
            f"script-src {' '.join(map(_hash, scripts))}",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
