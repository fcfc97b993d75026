"""The models of lmms-eval that were run with SharpV: `make test-lmms` runs each of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from sharpv.errors import UnsupportedModelError

__all__ = ["BASES", "Base", "base_for", "find_base"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A model of lmms-eval.

    Attributes:
        frames: its argument for the most frames of a clip.
        families: `model_type` of the checkpoints that it was run with.
        takes_dtype: whether it has an argument for the dtype.
        shows_images: whether it shows its model a clip as images, so that `images_as_frames` has to be set.
    """

    frames: str
    families: tuple[str, ...]
    takes_dtype: bool = False
    shows_images: bool = False


BASES = {
    "llava_hf": Base(frames="max_frames_num", families=("llava_onevision",), takes_dtype=True),
    "qwen2_vl": Base(frames="max_num_frames", families=("qwen2_vl",)),
    "qwen2_5_vl": Base(frames="max_num_frames", families=("qwen2_5_vl",)),
    "qwen3_vl": Base(frames="max_num_frames", families=("qwen3_vl",)),
    "qwen3_5": Base(frames="max_num_frames", families=("qwen3_5",)),
    "internvl_hf": Base(frames="num_frames", families=("internvl",), shows_images=True),
}
"""By the name that lmms-eval gives them."""


def find_base(name: object) -> Base:
    """Returns what is known of a model of lmms-eval.

    Raises:
        UnsupportedModelError: it was not run with SharpV.
    """
    if name not in BASES:
        raise UnsupportedModelError(f"got base={name}, which was not run with SharpV: give {_listed(BASES)}")
    return BASES[str(name)]


def base_for(family: object) -> str:
    """Returns the name of the model of lmms-eval that runs checkpoints of a family.

    Args:
        family: the `model_type` of a checkpoint.

    Raises:
        UnsupportedModelError: none was run with it.
    """
    names = {known: name for name, base in BASES.items() for known in base.families}
    if family not in names:
        raise UnsupportedModelError(
            f"got a model of type {family!r}: through lmms-eval, SharpV was run with {_listed(names)}"
        )
    return names[str(family)]


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"
