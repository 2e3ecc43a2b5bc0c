"""All HTTP connections of a frontend: how they are made, and who keeps them waiting."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from predictor.protocol.body import BodyLimits
from predictor.protocol.connection import Connection

SWEEP_S = 1.0  # between two looks at every connection


class Connections:
    """Makes a server's connections, and looks once a second which have waited too long.

    One timer serves them all. Given to ``uvicorn.Config`` as ``http``.

    Args:
        limits: bounds on what clients send.
    """

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._sweep_s = min(SWEEP_S, limits.timeout_s)
        self._sweeping = False
        self._all: set[Any] = set()

    def look(self) -> tuple[int, int]:
        """How many have a request under way, and how many of them an answer not yet taken."""
        ours = [one for one in self._all if isinstance(one, Connection)]
        untaken = sum(one.untaken for one in ours)
        return sum(one.answering or one.untaken for one in ours), untaken

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Connection:
        """A new connection (uvicorn's protocol factory)."""
        self._all = server_state.connections
        connection = Connection(config, server_state, app_state, _loop, limits=self._limits)
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
