"""The HTTP server of a frontend: our application on our connections in uvicorn."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import uvicorn

from predictor.listener import BACKLOG
from predictor.protocol.connections import Connections
from predictor.protocol.http import Application


class HttpServer(uvicorn.Server):
    """uvicorn without signal handlers of its own.

    Args:
        application: the routes.
        connections: what makes a protocol of every connection.
        keep_alive_s: how long a connection may be idle, in seconds.
        drain_timeout_s: how long a stop waits for requests under way, in seconds.
    """

    def __init__(
        self,
        application: Application,
        connections: Connections,
        keep_alive_s: int,
        drain_timeout_s: float,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=connections,  # type: ignore[arg-type]  # uvicorn calls it, no more
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,  # nothing here asks who the client is
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=keep_alive_s,
                timeout_graceful_shutdown=math.ceil(drain_timeout_s),
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the supervisor says when to stop."""
        yield
