"""`sharpv doctor`: does pruning work on this machine? A table to paste into a bug report."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from sharpv.cli import output
from sharpv.cli.options import Debug, Json

__all__ = ["doctor"]

PACKAGES = ("sharpv", "torch", "torchvision", "transformers", "av", "numpy")


def doctor(
    device: Annotated[str, typer.Option(help="Where to run the checks, such as cpu or cuda.")] = "cpu",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Check versions, devices and decoders, and run a tiny random model of each family dense and pruned."""
    from sharpv.hf.ask import find_device
    from sharpv.hf.families import FAMILIES
    from sharpv.hf.selfcheck import check_family, run_check

    find_device(device)
    environment = _environment()
    if not json:
        output.table(("what", "found"), list(environment.items()))
        output.answer("")
    checks = []
    for model_type in FAMILIES:
        output.progress(f"checking {model_type} ...")
        checks.append((run_check if debug else check_family)(model_type, device))
    healthy = all(check.ok or check.skipped for check in checks)
    if json:
        rows = [
            {name: getattr(check, name) for name in check.__slots__} | {"ok": check.ok} for check in checks
        ]
        output.result({"ok": healthy, "environment": environment, "checks": rows})
    else:
        columns = ("family", "ok", "idle is exact", "tokens kept", "cache bytes", "seconds", "error")
        output.table(columns, [_row(check) for check in checks])
    if not healthy:
        output.fail("a check failed: run again with --debug, and open an issue with the table above")
        raise typer.Exit(1)


def _row(check: Any) -> list[object]:
    if check.skipped:
        return [check.model_type, "skipped", *[""] * 4, check.skipped]
    return [
        check.model_type,
        "yes" if check.ok else "NO",
        "yes" if check.exact_off else "NO",
        f"{check.tokens_kept} of {check.tokens_total}",
        f"{check.cache_bytes} of {check.dense_cache_bytes}",
        f"{check.seconds:.1f}",
        check.error or "",
    ]


def _environment() -> dict[str, str]:
    import torch

    from sharpv.video.decoders import decoders

    found = {"python": platform.python_version(), "machine": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found["cuda"] = ", ".join(devices) or "none"
    found["threads"] = str(torch.get_num_threads())
    found["decoders"] = ", ".join(decoders())
    return found
