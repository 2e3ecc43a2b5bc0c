"""``grpc.health.v1`` for Kubernetes' gRPC probes and for clients that watch.

Not grpcio's own servicer: its lock is held while a watcher's connection is written to, so that one
watcher who does not read would freeze everybody's health, and an idle one would hold up a stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from predictor.protocol.messages import SERVICE

# All of these tell whether requests are taken, LIVENESS whether the process answers.
READINESS = ("", SERVICE, "readiness")
LIVENESS = "liveness"

Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # no types
    """What health checks are answered; not ready at first."""

    def __init__(self) -> None:
        self._ready = False
        self._ended = False
        self._changed = asyncio.Event()  # replaced by another one with each change

    def tell(self, ready: bool) -> None:
        """From now on, answer with this."""
        self._ready = ready
        self._wake()

    def end(self) -> None:
        """Let every watcher go: a stop does not wait for them."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Whether one service is well."""
        status = self._status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service {request.service!r} here")
        return Status(status=status)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """The same now and whenever it changes; what comes too fast for a watcher is left out."""
        told = None
        while not self._ended:
            changed = self._changed
            status = self._status(request.service)
            if status != told:
                told = status
                yield Status(status=status)
            else:
                await changed.wait()

    def _status(self, service: str) -> int:
        if service == LIVENESS:
            return int(Status.SERVING)
        if service not in READINESS:
            return int(Status.SERVICE_UNKNOWN)
        return int(Status.SERVING if self._ready else Status.NOT_SERVING)
