"""Runs the application until it is told to stop."""

import copy

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from sharpv.server.app import create_app
from sharpv.server.limits import CONNECTIONS
from sharpv.server.service import Service

__all__ = ["run"]

STOPPING_S = 5


def run(service: Service, host: str, port: int, key: str | None = None) -> None:
    """Serves until SIGINT, which raises `KeyboardInterrupt` when all is put away, or SIGTERM.

    Args:
        service: the model.
        host: address to listen at.
        port: port to listen at.
        key: as for `create_app`.
    """
    logs = copy.deepcopy(LOGGING_CONFIG)
    logs["handlers"]["access"]["stream"] = "ext://sys.stderr"
    config = uvicorn.Config(
        create_app(service, key),
        host=host,
        port=port,
        lifespan="on",
        ws="none",
        log_config=logs,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOPPING_S,
    )
    uvicorn.Server(config).run()
