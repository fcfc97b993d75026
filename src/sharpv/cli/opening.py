"""Reading the clip and loading the model that a command asks about, and what has to be said of them."""

from typing import TYPE_CHECKING

from sharpv.cli import output
from sharpv.cli.settings import is_toy

if TYPE_CHECKING:
    from sharpv.hf.ask import VideoModel
    from sharpv.video import Sampling, Video

__all__ = ["open_clip_and_model", "toy_warnings"]

NO_MODEL = "no model given (-m): "
TOY = "loading {}, which knows only clips and questions of its synthetic world (see `sharpv demo`) ..."
FOREIGN_CLIP = "this clip is not of the toy's world of moving shapes: take what it makes of it for noise"


def open_clip_and_model(
    video: str,
    model: str | None,
    sampling: "Sampling",
    *,
    dtype: str,
    device: str | None,
    max_side: int | None = None,
) -> "tuple[Video, VideoModel]":
    """Reads a clip, then loads the model, so that a bad clip costs no loading.

    Args:
        video: path or URL of the clip.
        model: as given with `--model`.
        sampling: which frames to read.
        dtype: as given with `--dtype`.
        device: as given with `--device`.
        max_side: as for `read_video`.

    Raises:
        SharpVError: the clip cannot be read, or the model not be loaded.
    """
    from sharpv.video import read_video

    output.progress("reading the video ...")
    clip = read_video(video, sampling, max_side=max_side)
    output.progress(_loading(model))
    from sharpv.hf.ask import DEFAULT_MODEL, load_model

    return clip, load_model(DEFAULT_MODEL if model is None else model, dtype, device)


def toy_warnings(model: str | None, clip: "Video", loaded: "VideoModel", question: str) -> list[str]:
    """Returns what of a request lies outside the toy's world; nothing where the model is no toy."""
    from sharpv.hf.ask import unknown_words
    from sharpv.shapesqa.files import MARK

    warnings = []
    if is_toy(model):
        if not (clip.comment or "").startswith(MARK):
            warnings.append(FOREIGN_CLIP)
        words = ", ".join(repr(word) for word in unknown_words(loaded, question))
        if words:
            warnings.append(
                f"the toy does not know {words}: ask in the words of its world, as `sharpv demo` does"
            )
    return warnings


def _loading(model: str | None) -> str:
    if model is None:
        return NO_MODEL + TOY.format("the toy in the box")
    return TOY.format(model) if is_toy(model) else f"loading {model} ..."
