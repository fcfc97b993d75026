"""What a job is run with: the model to open, where its workers run, and the settings to record."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import typer

from sharpv._compat import versions
from sharpv.batch.pool import Pool
from sharpv.batch.work import Engine
from sharpv.errors import InputError

__all__ = ["Place", "Plan", "find_place", "loaded", "served"]

SCHEMA_VERSION = 1
VLLM_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a job is run; nothing has been connected to.

    Attributes:
        settings: whatever can change an answer, as plain JSON values, as far as it is known.
        later: names of settings that `find` returns.
        find: connects to what there is to connect to. To be called before `pool`.
        pool: makes the workers.
        row_seconds: that a worker may take for a row.
    """

    settings: dict[str, Any]
    later: tuple[str, ...]
    find: Callable[[], Mapping[str, Any]]
    pool: Callable[[], Pool]
    row_seconds: float


class Place(Protocol):
    """Where workers run."""

    @property
    def device(self) -> str | None:
        """Kind of device that each has, "cpu" or "cuda"; None where only `join` can tell."""

    def join(self) -> str:
        """Connects to the place if need be, and returns the kind of device there."""

    def pool(self, engine: Engine) -> Pool:
        """Returns the workers, none of which has been started. To be called after `join`."""


@dataclass(frozen=True, slots=True)
class Here:
    """This machine.

    Attributes:
        workers: how many.
        device: as in `Place`.
    """

    workers: int
    device: str

    def join(self) -> str:
        """Returns the kind of device."""
        return self.device

    def pool(self, engine: Engine) -> Pool:
        """Returns processes."""
        from sharpv.batch.processes import Processes

        return Processes(engine, self.workers)


class Cluster:
    """A Ray cluster.

    Attributes:
        device: as in `Place`.
    """

    def __init__(self, address: str, workers: int | None, device: str | None) -> None:
        """Connects to nothing yet.

        Args:
            address: of the cluster.
            workers: how many; None is for one on each of its GPUs.
            device: kind of device that each gets; None is for a GPU where there are any.
        """
        self.device = device
        self._address, self._workers, self._gpus = address, workers, 0

    def join(self) -> str:
        """Joins the cluster.

        Raises:
            InputError: there is none.
        """
        from sharpv.engines.ray import connect

        self._gpus = connect(self._address)
        self.device = self.device or ("cuda" if self._gpus else "cpu")
        return self.device

    def pool(self, engine: Engine) -> Pool:
        """Returns actors."""
        from sharpv.engines.ray import Actors

        gpu = self.device == "cuda"
        return Actors(engine, self._workers or (self._gpus if gpu else 1) or 1, gpu=gpu)


def find_place(workers: int | None, ray_address: str | None, device: str | None) -> Place:
    """Finds the place for workers.

    Args:
        workers: how many; None is for one, or one for each GPU of a cluster.
        ray_address: of the cluster; None is for this machine.
        device: as given with `--device`.

    Raises:
        InputError: there is no such device here, or Ray is not installed.
    """
    if ray_address is None:
        from sharpv.hf.ask import find_device

        return Here(workers or 1, find_device(device).type)
    try:
        import sharpv.engines.ray  # noqa: F401
    except ImportError as error:
        raise InputError(f"--ray-address needs Ray ({error}): pip install 'sharpv[ray]'") from None
    return Cluster(ray_address, workers, None if device is None else device.partition(":")[0])


def loaded(place: Place, model: str | None, seconds: float, **how: Any) -> Plan:
    """Plans a job whose workers load the model themselves.

    Args:
        place: where they run.
        model: as given with `--model`.
        seconds: that a worker may take for a row.
        how: the other fields of `Transformers`.
    """
    from sharpv.batch.model import Transformers
    from sharpv.hf.ask import DEFAULT_MODEL

    name = DEFAULT_MODEL if model is None else model
    # Workers may run in another folder.
    engine = Transformers(model=str(Path(name).resolve()) if Path(name).is_dir() else name, **how)
    about = {"schema_version": SCHEMA_VERSION, "engine": "transformers"}
    settings = about | asdict(engine) | {"device": place.device, "versions": dict(versions())}
    later = ("device",) if place.device is None else ()
    return Plan(settings, later, lambda: {"device": place.join()}, lambda: place.pool(engine), seconds)


def served(
    place: Place,
    kind: Literal["vllm", "transformers"],
    url: str | None,
    model: str | None,
    options: Mapping[str, Any],
    max_new_tokens: int,
    seconds: float,
) -> Plan:
    """Plans a job that asks a server.

    Args:
        place: where its workers run.
        kind: what the server runs on.
        url: of the server; None is for a vLLM server on this machine.
        model: its name there; None where it has just one.
        options: of each request, as for `Served`.
        max_new_tokens: the most tokens of an answer.
        seconds: that the server may take to answer a row.

    Raises:
        typer.BadParameter: the URL is none of a server, or holds a secret.
    """
    from sharpv.batch.server import Served

    engine = Served(
        engine=kind,
        url=_address(url or VLLM_URL),
        model=model,
        options=options,
        max_new_tokens=max_new_tokens,
        seconds=seconds,
    )

    def find() -> dict[str, Any]:
        nonlocal engine
        engine = replace(engine, model=engine.open(0, 1).name)
        place.join()
        return {"model": engine.model}

    settings = {"schema_version": SCHEMA_VERSION, "server": True} | asdict(engine)
    del settings["url"], settings["seconds"]  # the same server may come back elsewhere, or be given more time
    later = ("model",) if model is None else ()
    return Plan(settings, later, find, lambda: place.pool(engine), engine.row_seconds)


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r} is no http:// or https:// address", param_hint="--url")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise typer.BadParameter(
            "it holds a name or a password: give a key in SHARPV_API_KEY instead", param_hint="--url"
        )
    return url.rstrip("/").removesuffix("/v1")
