"""The gRPC server of a frontend: the inference service, health checks and reflection."""

from __future__ import annotations

import asyncio
import time

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection, reflection_pb2

from predictor.listener import ignore_new_connections, listeners
from predictor.protocol.grpc import InferenceService
from predictor.protocol.health import Health
from predictor.protocol.messages import POOL, SERVICE
from predictor.settings import Settings

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# Beyond what the queue can take at once, for calls that wait to be refused and for watchers.
SPARE_CALLS = 1024
QUIET_S = 0.1  # without a call, at a stop; on one machine or in one network a call takes less
LONGEST_REFUSING_S = 2.0  # for clients that do not stop asking


class GrpcServer:
    """Listens on the pod's one gRPC port, as every frontend does.

    Args:
        service: the methods.
        settings: of the pod.
        port: where.
    """

    def __init__(self, service: InferenceService, settings: Settings, port: int) -> None:
        self._service, self._port = service, port
        limit = settings.grpc_max_message_bytes
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 1),
            ],
            maximum_concurrent_rpcs=settings.max_queue_size + SPARE_CALLS,
        )
        self.health = Health()
        service.add_to(self._server)
        add_HealthServicer_to_server(self.health, self._server)
        self._add_reflection()
        self._server.add_insecure_port(f"{settings.host}:{port}")

    def _add_reflection(self) -> None:
        """Let grpcurl and the like find every method without a .proto file."""
        for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
            POOL.AddSerializedFile(file.serialized_pb)
        names = (SERVICE, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and give those under way ``grace_s`` seconds.

        grpcio's server cancels calls that have come and that no method has taken yet, which looks
        to their clients as if they had left themselves (grpc/grpc#41785). So new connections are
        ignored first, and calls are refused until none comes any more.
        """
        self.health.end()
        for listener in listeners(self._port):
            with listener:
                ignore_new_connections(listener)
        self._service.refuse()
        refused, end = -1, time.monotonic() + LONGEST_REFUSING_S
        while refused != self._service.refused and time.monotonic() < end:
            refused = self._service.refused
            await asyncio.sleep(QUIET_S)
        await self._server.stop(grace_s)
