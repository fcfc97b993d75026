"""The trained models in the box: where their folders are."""

from pathlib import Path

from sharpv.errors import InputError

__all__ = ["DEFAULT_MODEL", "TOYS", "TOY_PREFIX", "toy_path"]

TOY_PREFIX = "toy:"
"""What stands before a toy's name where other models may be named, too."""

DEFAULT_MODEL = f"{TOY_PREFIX}default"
"""The name of the model in the box."""

TOYS = {
    "default": "trained at the end with tokens dropped at random, as a large model tolerates it",
    "dense": "trained without dropping: the stress test of a pruner",
}
"""The toys, and what sets them apart. Both know nothing but the world of ShapesQA."""

WEIGHTS = Path(__file__).parent / "weights"


def toy_path(name: str = "default") -> Path:
    """Returns the folder of a toy, which `from_pretrained` loads without network and without custom code.

    Args:
        name: one of `TOYS`.

    Raises:
        InputError: there is no such toy, or the package came without its weights.
    """
    if name not in TOYS:
        raise InputError(f"got toy {name!r}: it must be one of {', '.join(TOYS)}")
    folder = WEIGHTS / name
    if not (folder / "model.safetensors").is_file():
        raise InputError(
            f"the weights of the toy {name!r} are not in {str(folder)!r}: install sharpv again, from a wheel "
            "or a whole checkout"
        )
    return folder
