"""One frontend process: KServe's model behind REST and gRPC, answered by the attached instances."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import grpc
import uvicorn
import uvloop
from kserve.protocol.grpc import grpc_predict_v2_pb2_grpc as stubs

from model_store.package import load_package
from predictor.classifier import ImageClassifier
from predictor.control import Control, Message
from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher
from predictor.listener import BACKLOG
from predictor.metrics import FrontendMetrics
from predictor.process import FrontendOrder, enter_process, leave_stopping_to_the_supervisor
from predictor.protocol.grpc import InferenceService
from predictor.protocol.http import Application, BodyLimits
from predictor.protocol.rest import RestRoutes
from predictor.settings import Settings
from predictor.slab import Board, Channel, Slab, SlabLayout
from predictor.types import BatchCost


def main() -> None:
    """Entry of the process: ``python -m predictor.frontend CONTROL_FD``."""
    control = Control.from_fd(int(sys.argv[1]))
    leave_stopping_to_the_supervisor()
    start = control.receive()
    if start is None:
        return
    order = FrontendOrder(**start.content)
    settings = Settings(**order.settings)
    enter_process(f"millrace: frontend {order.frontend}", settings.log_level)
    warnings.filterwarnings("ignore", module="PIL")  # about clients' images, one line per image
    uvloop.run(Frontend(control, order, settings).serve(start.fds))


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Frontend:
    """One frontend's life: start → serve until told → drain → stop."""

    def __init__(self, control: Control, order: FrontendOrder, settings: Settings) -> None:
        self._control = control
        self._order = order
        self._settings = settings
        self._draining = False
        self._stop = asyncio.Event()

    async def serve(self, fds: tuple[int, ...]) -> None:
        """Run until the supervisor says stop or is gone."""
        listener, slab, board = fds
        settings, order = self._settings, self._order
        package = load_package(Path(order.package))
        manifest = package.manifest
        metrics = FrontendMetrics(order.model_name, package.version)
        loop = asyncio.get_running_loop()
        pool = DecodePool(
            order.decode_threads,
            manifest.input,
            settings.decode_limits,
            settings.scaled_decode,
            loop,
        )
        dispatcher = Dispatcher(
            Slab(slab, SlabLayout(**order.layout)),
            Board(board, settings.instances, settings.frontends).outstanding,
            order.frontend,
            pool,
            metrics,
            self._set_ready,
        )
        self._dispatcher = dispatcher
        self._classifier = ImageClassifier(
            package, order.model_name, dispatcher, settings.request_timeout_s
        )
        rest = RestRoutes(self._classifier, lambda: self._draining)
        http = _Server(
            uvicorn.Config(
                Application(
                    rest.table(),
                    BodyLimits(settings.max_body_bytes, settings.body_timeout_s),
                    metrics,
                    lambda: self._draining,
                ),
                log_config=None,
                access_log=False,
                lifespan="off",
                ws="none",
                proxy_headers=False,  # nothing here asks who the client is
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
            )
        )
        service = InferenceService(self._classifier, lambda: rest.ready, metrics)
        rpc = _grpc_server(service, settings, order.grpc_port)
        await rpc.start()
        serving = loop.create_task(http.serve(sockets=[socket.socket(fileno=listener)]))
        threading.Thread(target=self._listen, args=(loop,), name="control", daemon=True).start()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again
        self._control.send(Message("ready"))

        await self._stop.wait()

        # Both protocols stop taking and finish what they have; then nothing is left to decode.
        http.should_exit = True
        await asyncio.gather(serving, rpc.stop(grace=settings.drain_timeout_s))
        dispatcher.close()
        pool.close()

    def _set_ready(self, ready: bool) -> None:
        self._classifier.ready = ready

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the supervisor's messages, in a thread of its own: they are few."""
        while (message := self._control.receive()) is not None:
            loop.call_soon_threadsafe(self._obey, message)
        loop.call_soon_threadsafe(self._stop.set)

    def _obey(self, message: Message) -> None:
        if message.kind == "attach":
            channel = Channel(socket.socket(fileno=message.fds[0]))
            cost = BatchCost(**message.content["cost"])
            self._dispatcher.attach(message.content["instance"], channel, cost)
        elif message.kind == "drain":
            self._draining = True
        elif message.kind == "stop":
            self._stop.set()


def _grpc_server(service: InferenceService, settings: Settings, port: int) -> grpc.aio.Server:
    limit = settings.grpc_max_message_bytes
    server = grpc.aio.server(
        options=[
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
            ("grpc.so_reuseport", 1),  # every frontend listens on the pod's one gRPC port
        ]
    )
    stubs.add_GRPCInferenceServiceServicer_to_server(service, server)
    server.add_insecure_port(f"{settings.host}:{port}")
    return server


if __name__ == "__main__":
    main()
