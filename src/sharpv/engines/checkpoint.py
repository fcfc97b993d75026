"""What a model's folder says of it, read without loading it."""

import json
from pathlib import Path
from typing import Any

from sharpv.errors import InputError

__all__ = ["read_config"]


def read_config(model: str) -> dict[str, Any]:
    """Returns the `config.json` of a directory or a hub id.

    Raises:
        InputError: there is none, or it is no JSON object.
    """
    folder = Path(model)
    try:
        if folder.is_dir():
            path = folder / "config.json"
        else:
            from huggingface_hub import hf_hub_download  # noqa: PLC0415

            path = Path(hf_hub_download(model, "config.json"))
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"cannot read the config.json of {model!r} ({reason}): give a model's directory, or a hub id "
            "that can be reached"
        ) from error
    if not isinstance(config, dict):
        raise InputError(
            f"the config.json of {model!r} holds a {type(config).__name__}, not an object: give a model's "
            "directory, or a hub id"
        )
    return config
