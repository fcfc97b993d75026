"""Runs the application until it is told to stop."""

import uvicorn

from sharpv.server.app import create_app
from sharpv.server.service import Service

__all__ = ["run"]

CONNECTIONS = 1024
STOPPING_S = 5


def run(service: Service, host: str, port: int, key: str | None = None) -> None:
    """Serves until SIGINT or SIGTERM.

    Args:
        service: the model.
        host: address to listen at.
        port: port to listen at.
        key: as for `create_app`.
    """
    uvicorn.run(
        create_app(service, key),
        host=host,
        port=port,
        lifespan="on",
        ws="none",
        log_level="info",
        server_header=False,
        # Above it, connections are answered 503 at once.
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOPPING_S,
    )
