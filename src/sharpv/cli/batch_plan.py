"""What a job is run with: the model to open, where its workers run, and the settings to record."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import typer

from sharpv._compat import versions
from sharpv.batch.pool import Pool
from sharpv.batch.work import Engine
from sharpv.errors import InputError

__all__ = ["Place", "Plan", "find_place", "loaded", "served"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """The model of a job.

    Attributes:
        engine: what each worker opens.
        settings: whatever can change an answer, as plain JSON values.
    """

    engine: Engine
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where workers run.

    Attributes:
        workers: how many.
        device: kind of device that each has, "cpu" or "cuda".
        ray: whether on a Ray cluster, which has been joined.
    """

    workers: int
    device: str
    ray: bool

    def pool(self, engine: Engine) -> Pool:
        """Returns the workers, none of which has been started."""
        if self.ray:
            from sharpv.engines.ray import Actors

            return Actors(engine, self.workers, gpu=self.device == "cuda")
        from sharpv.batch.processes import Processes

        return Processes(engine, self.workers)


def find_place(workers: int | None, ray_address: str | None, device: str | None) -> Place:
    """Finds the place for workers, and joins the cluster if there is to be one.

    Args:
        workers: how many; None is for one, or one for each GPU of a cluster.
        ray_address: of the cluster; None is for this machine.
        device: as given with `--device`.

    Raises:
        InputError: there is no such cluster or device, or Ray is not installed.
    """
    if ray_address is None:
        from sharpv.hf.ask import find_device

        return Place(workers or 1, find_device(device).type, ray=False)
    try:
        from sharpv.engines.ray import connect
    except ImportError as error:
        raise InputError(f"--ray-address needs Ray ({error}): pip install 'sharpv[ray]'") from None
    gpus = connect(ray_address)
    kind = ("cuda" if gpus else "cpu") if device is None else device.partition(":")[0]
    return Place(workers or (gpus if kind == "cuda" else 1) or 1, kind, ray=True)


def loaded(model: str | None, kind: str, **how: Any) -> Plan:
    """Plans a job whose workers load the model themselves.

    Args:
        model: as given with `--model`.
        kind: of device that each worker has.
        how: the other fields of `Transformers`.
    """
    from sharpv.batch.model import Transformers
    from sharpv.hf.ask import DEFAULT_MODEL

    name = DEFAULT_MODEL if model is None else model
    # Workers may run in another folder.
    engine = Transformers(model=str(Path(name).resolve()) if Path(name).is_dir() else name, **how)
    about = {"schema_version": SCHEMA_VERSION, "engine": "transformers"}
    return Plan(engine, about | asdict(engine) | {"device": kind, "versions": dict(versions())})


def served(url: str, model: str | None, retention: float | Literal["adaptive"], max_new_tokens: int) -> Plan:
    """Plans a job that asks a server, which must be there.

    Args:
        url: of the server.
        model: its name there; None where it has just one.
        retention: share of the tokens to keep; "adaptive" leaves it to the server.
        max_new_tokens: the most tokens of an answer.

    Raises:
        InputError: the server cannot be reached, or has not this model.
    """
    from sharpv.batch.server import Served

    if not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r} is no http:// or https:// address", param_hint="--url")
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise typer.BadParameter(
            "it holds a name or a password: give a key in SHARPV_API_KEY instead", param_hint="--url"
        )
    keep = None if retention == "adaptive" else float(retention)
    where = url.rstrip("/").removesuffix("/v1")
    engine = Served(url=where, model=model, keep=keep, max_new_tokens=max_new_tokens)
    engine = replace(engine, model=engine.open(0, 1).name)
    settings = asdict(engine)
    del settings["url"]  # the same server may come back elsewhere
    return Plan(engine, {"schema_version": SCHEMA_VERSION, "engine": "vllm"} | settings)
