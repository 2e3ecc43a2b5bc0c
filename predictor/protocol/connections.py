"""All HTTP connections of a frontend: how they are made, and who keeps them waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from predictor.protocol.body import BodyLimits
from predictor.protocol.connection import Connection
from predictor.protocol.readers import Readers

SWEEP_S = 1.0  # between two looks at every connection


class Connections:
    """Makes a server's connections, and looks once a second which have waited too long.

    One timer serves them all. Given to ``uvicorn.Config`` as ``http``.

    Args:
        limits: bounds on what clients send.
        readers: told of every answer to an inference request.
    """

    def __init__(self, limits: BodyLimits, readers: Readers) -> None:
        self._limits = limits
        self._readers = readers
        self._sweep_s = min(SWEEP_S, limits.timeout_s)
        self._sweeping = False

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A new connection (uvicorn's protocol factory)."""
        connection = Connection(
            config, server_state, app_state, _loop, limits=self._limits, readers=self._readers
        )
        if not self._sweeping:
            self._sweep_later(server_state, connection.loop)
        return connection

    def _sweep_later(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = True
        loop.call_later(self._sweep_s, self._sweep, state, loop)

    def _sweep(self, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeping = bool(state.connections)
        if self._sweeping:
            self._sweep_later(state, loop)
        now = loop.time()
        for connection in tuple(state.connections):
            if isinstance(connection, Connection):
                connection.look_at_the_clock(now)
