"""The command that serves a model with SharpV."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sharpv.engines.checkpoint import read_config
from sharpv.engines.vllm.options import Options
from sharpv.engines.vllm.plugin import ARCHITECTURES
from sharpv.errors import UnsupportedModelError

__all__ = ["ServeCommand", "architecture_of", "serve_command"]

MIDDLEWARE = "sharpv.engines.vllm.middleware.SharpVMiddleware"


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
        extra: more arguments for `vllm serve`, which go before these where they say the same.

    Raises:
        InputError: there is no such model.
        UnsupportedModelError: a model that the plug-in does not prune.
    """
    overrides = {"architectures": [f"SharpV{architecture_of(model)}"], "sharpv": options.to_dict()}
    arguments = ["serve", model, "--hf-overrides", json.dumps(overrides)]
    # The middleware lets through one option of a request; vLLM by itself lets through none or all.
    arguments += ["--trust-request-mm-kwargs", "--middleware", MIDDLEWARE]
    arguments += ["--host", host, "--port", str(port), *extra]
    media = {"VLLM_MEDIA_CONNECTOR": "sharpv-any"}
    if not allow_private_media:
        # A public address may send on to one that is not.
        media = {"VLLM_MEDIA_CONNECTOR": "sharpv-public", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0"}
    return ServeCommand(tuple(arguments), media)


def architecture_of(model: str) -> str:
    """Returns vLLM's architecture of a model, from its `config.json`.

    Raises:
        InputError: there is none.
        UnsupportedModelError: the plug-in does not prune it.
    """
    found = [str(name).removeprefix("SharpV") for name in read_config(model).get("architectures") or []]
    for name in found:
        if name in ARCHITECTURES:
            return name
    raise UnsupportedModelError(
        f"got a model of {found or 'no architecture'}; SharpV in vLLM prunes {', '.join(ARCHITECTURES)}"
    )
