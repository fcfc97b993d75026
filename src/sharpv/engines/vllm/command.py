"""The command that serves a model with SharpV."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sharpv.engines.checkpoint import read_config
from sharpv.engines.vllm.options import Options
from sharpv.engines.vllm.plugin import ARCHITECTURES
from sharpv.errors import InputError, UnsupportedModelError

__all__ = ["ServeCommand", "architecture_of", "serve_command"]

MIDDLEWARE = "sharpv.engines.vllm.middleware.SharpVMiddleware"

# Options of vLLM's that concern ours. It takes an option by any beginning of its name that no other has.
_OVERRIDES, _PROCESSOR, _RATE = "--hf-o", "--mm-processor-k", "--video-pruning-r"


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """A command and what it needs in its environment.

    Attributes:
        arguments: for `vllm`, without its name.
        environment: variables to set.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def __str__(self) -> str:
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        return " ".join([*settings, "vllm", shlex.join(self.arguments)])

    @property
    def argv(self) -> list[str]:
        """What to run, with this Python."""
        return [sys.executable, "-m", "vllm.entrypoints.cli.main", *self.arguments]


def serve_command(
    model: str,
    options: Options,
    host: str = "127.0.0.1",
    port: int = 8000,
    allow_private_media: bool = False,
    extra: Sequence[str] = (),
) -> ServeCommand:
    """Builds the command that serves a model.

    Args:
        model: a directory or a hub id.
        options: what the server keeps where a request does not say.
        host: address to listen at.
        port: port to listen at.
        allow_private_media: whether requests may name URLs inside the server's own network.
        extra: more arguments for `vllm serve`, which go before these where they say the same; what
            `--hf-overrides` says is joined to what SharpV needs there.

    Raises:
        InputError: there is no such model, or arguments for vLLM that would switch SharpV off.
        UnsupportedModelError: a model that the plug-in does not prune.
    """
    given, others = _overrides_in(extra)
    ours = {"architectures": [f"SharpV{architecture_of(model)}"], "sharpv": options.to_dict()}
    taken = sorted(set(given) & set(ours))
    if taken:
        raise InputError(f"got {taken} in --hf-overrides, which SharpV sets: leave them out")
    _check(others)
    overrides = {**given, **ours}
    arguments = ["serve", model, "--hf-overrides", json.dumps(overrides)]
    # The middleware lets through one option of a request; vLLM by itself lets through none or all.
    arguments += ["--trust-request-mm-kwargs", "--middleware", MIDDLEWARE]
    arguments += ["--host", host, "--port", str(port), *others]
    media = {"VLLM_MEDIA_CONNECTOR": "sharpv-any"}
    if not allow_private_media:
        # A public address may send on to one that is not.
        media = {"VLLM_MEDIA_CONNECTOR": "sharpv-public", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}
    return ServeCommand(tuple(arguments), media)


def _overrides_in(extra: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Takes `--hf-overrides` out of arguments; returns its object and the others."""
    given: Any = {}
    others = []
    words = iter(extra)
    for word in words:
        name, equals, value = word.partition("=")
        if not _is(name, _OVERRIDES):
            others.append(word)
            continue
        value = value if equals else next(words, "")
        try:
            given = json.loads(value)
        except ValueError:
            given = None
        if "." in name or not isinstance(given, dict):
            raise InputError(f"got {name} {value}: give --hf-overrides once, as one JSON object")
    return given, others


def _check(extra: Sequence[str]) -> None:
    """Refuses arguments that vLLM would take, and SharpV could not follow."""
    for word, after in pairwise([*extra, ""]):
        name = word.partition("=")[0]
        if _is(name, _RATE):
            raise InputError(f"got {name}, which is for vLLM's own methods: leave it out, and give --keep")
        if _is(name, _PROCESSOR) and "sharpv_" in f"{word} {after}":
            raise InputError(
                f"got SharpV's options in {name}, where a request gives them: give the server --keep"
            )


def _is(name: str, beginning: str) -> bool:
    return name.replace("_", "-").startswith(beginning)


def architecture_of(model: str) -> str:
    """Returns vLLM's architecture of a model, from its `config.json`.

    Raises:
        InputError: there is none, or it is no JSON object.
        UnsupportedModelError: the plug-in does not prune it.
    """
    found = read_config(model).get("architectures")
    for name in found if isinstance(found, list) else []:
        stock = str(name).removeprefix("SharpV")
        if stock in ARCHITECTURES:
            return stock
    raise UnsupportedModelError(
        f"got a model of {found or 'no architecture'}; SharpV in vLLM prunes {', '.join(ARCHITECTURES)}"
    )
