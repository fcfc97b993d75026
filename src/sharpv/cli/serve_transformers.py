"""`sharpv serve --engine transformers`: a model in this process, with both stages."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from sharpv.cli import output
from sharpv.config import SharpVConfig
from sharpv.errors import InputError, SharpVError

if TYPE_CHECKING:
    from sharpv.video import Sampling

__all__ = ["KEY_VARIABLE", "serve_by_transformers"]

KEY_VARIABLE = "SHARPV_API_KEY"


def serve_by_transformers(
    model: str,
    config: SharpVConfig,
    method: str,
    sampling: "Sampling",
    *,
    limits: Sequence[str],
    allow_private: bool,
    folder: Path | None,
    host: str,
    port: int,
    dtype: str,
    device: str | None,
) -> None:
    """Loads a model and serves it until it is told to stop.

    Args:
        model: directory, hub id or toy.
        config: what to keep where a request does not say.
        method: what chooses the tokens.
        sampling: which frames of a video are read.
        limits: as for `Limits.from_texts`.
        allow_private: whether media are fetched from addresses inside the server's own network.
        folder: from which `file:` URLs may be read, or None.
        host: address to listen at.
        port: port to listen at.
        dtype: as given with `--dtype`.
        device: as given with `--device`.

    Raises:
        SharpVError: a limit is wrong, the extra `serve` is missing, or the model cannot be loaded.
    """
    _require_extra()
    _check_system()
    from sharpv.hf.ask import load_model
    from sharpv.hf.attach import check_fit
    from sharpv.methods import find_pruner
    from sharpv.server.limits import Limits
    from sharpv.server.media import Access
    from sharpv.server.run import run
    from sharpv.server.service import Service, Settings

    key = _key()
    bounds = Limits.from_texts(limits)
    if sampling.fps is not None:
        sampling = replace(sampling, max_frames=bounds.frames)
    elif (sampling.frames or 0) > bounds.frames:
        raise InputError(
            f"got --frames {sampling.frames} above --limit frames={bounds.frames}: raise the limit"
        )
    pruner = find_pruner(method)
    pruner.check(config)
    access = Access(
        limits=bounds, allow_private=allow_private, folder=None if folder is None else str(folder)
    )
    settings = Settings(config=config, method=method, sampling=sampling, access=access)
    output.progress(f"loading {model} ...")
    loaded = load_model(model, dtype, device)
    check_fit(loaded.model, config, pruner)
    if key is None and not _is_loopback(host):
        output.warn(f"whoever reaches {host} may ask: set {KEY_VARIABLE} to a key that clients must have")
    name = Path(model).resolve().name if Path(model).is_dir() else model
    most = bounds.memory_bytes / 2**30
    output.progress(f"beside the model, requests take up to {most:.1f} GiB of memory (see --limit)")
    output.progress(f"serving {name} at http://{host}:{port}/v1")
    run(Service(loaded, name, settings), host, port, key)


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise SharpVError(f"{error.name} is not installed: pip install 'sharpv[serve]'") from None


def _check_system(system: str = sys.platform) -> None:
    if system == "win32":
        raise SharpVError(
            "this server limits the processes that load media in ways that Windows does not have: run it on "
            "Linux or macOS, or in WSL"
        )
    if system != "linux":
        output.warn("the limit media_memory_bytes holds on Linux only: serve only clients that you trust")


def _key() -> str | None:
    """Returns the key that clients must have, without the spaces and line ends that files add; None for none.

    Raises:
        InputError: one that cannot be meant, or that no client can send.
    """
    given = os.environ.get(KEY_VARIABLE)
    key = (given or "").strip()
    if not given:
        return None
    if not key or not key.isprintable():
        raise InputError(
            f"{KEY_VARIABLE} holds {'only spaces' if not key else 'characters that are not printable'}: "
            "set it to a key, or unset it for none"
        )
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
