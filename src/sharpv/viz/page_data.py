"""What the scripts of the page read: numbers, masks and pictures of an inspection as JSON."""

import shlex
from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sharpv._plain import Mask
from sharpv.config import SharpVConfig
from sharpv.report import ReuseReport
from sharpv.viz.inspection import Inspection, Run
from sharpv.viz.webp import webp_pictures

__all__ = ["live_config", "live_run", "page_data", "short_config", "view_names"]

# The method whose choice the page computes again.
LIVE = "sharpv"
# As base64 a third more: 4 MB of a page.
PICTURE_BUDGET = 3_000_000


def live_run(inspection: Inspection) -> Run | None:
    """Returns SharpV's run, which the knobs act on; None where it was not run."""
    return next((run for run in inspection.runs if run.name == LIVE), None)


def live_config(inspection: Inspection) -> SharpVConfig:
    """Returns what the knobs start from: the configuration of SharpV's run, else that of the first run."""
    return (live_run(inspection) or inspection.runs[0]).report.config


def short_config(config: SharpVConfig) -> dict[str, Any]:
    """Returns the fields as plain JSON values, what is made of many of them by its short form."""
    return config.to_dict() | {"vision_reuse": config.reuse and config.reuse.shorthand}


def view_names(inspection: Inspection) -> list[str]:
    """Names what the page shows side by side: the runs, and SharpV's choice where it was not run."""
    names = [run.name for run in inspection.runs]
    return names if live_run(inspection) else [*names, f"{LIVE} (not run)"]


def page_data(inspection: Inspection, cuts: tuple[int, ...]) -> dict[str, Any]:
    """Returns plain JSON values.

    Numbers are base64 of little-endian float32, masks of bits in raster order, pictures of WebP.

    Args:
        inspection: of the page.
        cuts: numbers of the frames that likely begin a new shot.
    """
    video, scores = inspection.runs[0].video, inspection.scores
    return {
        "n": video.frames,
        "f": video.tokens_per_frame,
        "leading": video.leading,
        "grid": video.grid,
        "sourceFrames": video.source_frames,
        "window": video.window,
        "pictures": [_base64(picture) for picture in webp_pictures(inspection.frames, PICTURE_BUDGET)],
        "times": inspection.timestamps.tolist(),
        "spatial": _floats(scores.spatial),
        "temporal": _floats(scores.temporal),
        "ratios": _floats(scores.ratios),
        "anchors": inspection.anchors,
        "cuts": cuts,
        "views": view_names(inspection),
        "runs": [_run(run) for run in inspection.runs],
        "config": short_config(live_config(inspection)),
        "defaults": short_config(SharpVConfig()),
        "command": " ".join(map(_shell_word, inspection.command)),
        **_encoded(video.reuse),
    }


def _encoded(reuse: ReuseReport | None) -> dict[str, Any]:
    """Returns which patches the vision tower encoded, by the grid of a frame; nothing where all were."""
    if reuse is None or reuse.grid is None:
        return {}
    return {"encoded": {"grid": reuse.grid, "computed": _mask(reuse.computed)}}


def _run(run: Run) -> dict[str, Any]:
    row = run.video.row
    return {
        "live": run.name == LIVE,
        "kept": _mask(run.kept),
        "promptTokens": run.report.prompt_tokens_kept[row],
        "memoryThreshold": run.report.config.memory_threshold,
        "layers": [
            {"layer": layer.layer, "similarity": layer.similarity[row], "dropped": layer.dropped[row]}
            for layer in run.report.layers
        ],
    }


def _shell_word(word: str) -> str:
    """Quotes a word for a shell; where it holds signs that cannot be seen, for bash and zsh alone."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = (sign if sign.isprintable() and sign not in "'\\" else _escapes(sign) for sign in word)
    return f"$'{''.join(escaped)}'"


def _escapes(sign: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in sign.encode("utf-8", "surrogateescape"))


def _mask(values: Mask) -> str:
    return _base64(np.packbits(np.array(values, dtype=np.bool_)).tobytes())


def _floats(values: ArrayLike) -> str:
    return _base64(np.ascontiguousarray(values, dtype="<f4").tobytes())


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode("ascii")
