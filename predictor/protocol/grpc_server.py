"""The gRPC server of a frontend: the inference service, health checks and reflection."""

from __future__ import annotations

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection, reflection_pb2

from predictor.protocol.grpc import InferenceService
from predictor.protocol.messages import POOL, SERVICE
from predictor.settings import Settings

HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
# Kubernetes' gRPC probes may name a service: all of these but the last tell whether requests are
# taken, the last whether the process answers.
READINESS = ("", SERVICE, "readiness")
LIVENESS = "liveness"


class GrpcServer:
    """Listens on the pod's one gRPC port, as every frontend does.

    Args:
        service: the methods.
        settings: of the pod.
        port: where.
    """

    def __init__(self, service: InferenceService, settings: Settings, port: int) -> None:
        limit = settings.grpc_max_message_bytes
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_send_message_length", limit),
                ("grpc.max_receive_message_length", limit),
                ("grpc.so_reuseport", 1),
            ]
        )
        self._health = health.HealthServicer()
        service.add_to(self._server)
        add_HealthServicer_to_server(self._health, self._server)
        self._add_reflection()
        self._server.add_insecure_port(f"{settings.host}:{port}")

    def _add_reflection(self) -> None:
        """Let grpcurl and the like find every method without a .proto file."""
        for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
            POOL.AddSerializedFile(file.serialized_pb)
        names = (SERVICE, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)

    async def start(self) -> None:
        """Listen; not ready yet."""
        await self.tell_health(ready=False)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def tell_health(self, ready: bool) -> None:
        """From now on, answer health checks with this."""
        status = health_pb2.HealthCheckResponse
        for service in READINESS:
            await self._health.set(service, status.SERVING if ready else status.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, and give those under way ``grace_s`` seconds."""
        await self._server.stop(grace_s)
