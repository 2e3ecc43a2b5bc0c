"""One frontend process: the model behind REST and gRPC, answered by the attached instances."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import uvloop

from model_store.errors import ModelStoreError
from predictor.control import Control, Message
from predictor.decode_pool import DecodePool
from predictor.errors import StartupError
from predictor.frontend_orders import FrontendOrders
from predictor.frontend_work import Clocks, FrontendWork
from predictor.introductions import Introductions
from predictor.metrics import frontend_restarted
from predictor.observer import Observer
from predictor.preloaded import Preloaded
from predictor.process import FrontendOrder, begin_child, enter_process
from predictor.protocol.aside import Aside
from predictor.protocol.body import BodyLimits
from predictor.protocol.connections import Connections
from predictor.protocol.cors import Cors
from predictor.protocol.description import Description
from predictor.protocol.grpc import InferenceService
from predictor.protocol.grpc_server import GrpcServer
from predictor.protocol.http import Application
from predictor.protocol.http_server import HttpServer
from predictor.protocol.readers import Readers
from predictor.protocol.rest import RestRoutes
from predictor.pulse import BEAT_S, Pulse
from predictor.repository import Repository
from predictor.request_log import RequestLog
from predictor.scheduling import set_slice
from predictor.settings import Settings
from predictor.versions import Versions
from predictor.workers import Workers

if TYPE_CHECKING:
    from predictor.tracing import Tracer

SLICE_S = 0.0002  # of the event loop: it answers or refuses, and need not wait behind a batch
SWITCH_S = 0.0005  # how long a decoder may keep the interpreter's lock from the event loop
GC_OBJECTS = 20_000  # more objects made than given up, before the collector looks


def main() -> None:
    """Entry of the process: ``python -m predictor.frontend CONTROL_FD``."""
    control, start = begin_child()
    order = FrontendOrder(**start.content)
    settings = Settings(**order.settings)
    enter_process(f"millrace: frontend {order.frontend}", settings.log_level)
    warnings.filterwarnings("ignore", module="PIL")  # about clients' images, one line per image
    if order.generation > 0:
        frontend_restarted(order.frontend)
    introductions = [control.receive() for _ in range(order.versions)]

    async def life() -> None:
        frontend = Frontend(control, order, settings, start.fds)
        frontend.begin([message for message in introductions if message is not None])
        await frontend.serve()

    try:
        uvloop.run(life())
    except (StartupError, ModelStoreError) as error:
        control.send(Message("failed", {"reason": str(error)}))
        sys.exit(1)


class Frontend:
    """One frontend's life: start → serve until told → drain → stop. Made on its event loop.

    Args:
        control: the supervisor's.
        order: what to serve.
        settings: of the pod.
        fds: descriptors of the HTTP listener, of this process's signs of life, and of preloaded
            images if there are any.

    Raises:
        StartupError: it cannot start; says why.
    """

    def __init__(
        self, control: Control, order: FrontendOrder, settings: Settings, fds: tuple[int, ...]
    ) -> None:
        self._listener, signs, *preloaded = fds
        self._pulse = Pulse(signs)
        images = Preloaded(*preloaded)
        for fd in preloaded:
            os.close(fd)  # the mapping keeps the memory
        self._control = control
        self._settings = settings
        self._stop = asyncio.Event()
        self._versions = Versions(
            order.model_name, settings.max_queue_size, order.traffic, self._versions_changed
        )
        self._tracer = _tracer(settings, order.model_name, order.frontend)
        self._log = RequestLog(settings.request_log, time.monotonic)
        self._observer = Observer(self._versions, self._log, self._tracer)
        self._pool = DecodePool(
            order.decode_threads,
            settings.decode_limits,
            settings.scaled_decode,
            asyncio.get_running_loop(),
        )
        self._repository = Repository(self._versions, settings.repository_token, control.send)
        description = Description(
            self._versions, settings, self._repository, _workers(order, settings)
        )
        self._aside = Aside()
        self._routes = RestRoutes(
            self._versions,
            description,
            self._repository,
            images,
            self._aside,
            one_priority=settings.priority_levels == 1,
        )
        limits = _body_limits(settings)
        self._application = Application(
            {},  # until there is a version
            limits,
            self._observer,
            lambda: self._versions.draining,
            Cors.parse(settings.cors_origins),
        )
        readers = Readers()
        connections = Connections(limits, readers)
        self._http = HttpServer(
            self._application, connections, settings.keep_alive_s, settings.drain_timeout_s
        )
        service = InferenceService(
            self._versions, description, self._repository, self._aside, self._observer
        )
        self._rpc = GrpcServer(service, settings, order.grpc_port)
        self._work = FrontendWork(Clocks(self._pool, readers.look).read, settings.request_timeout_s)
        self._orders = FrontendOrders(
            control,
            order.frontend,
            self._versions,
            Introductions(order.frontend, settings, self._versions, self._pool, images),
            self._repository,
            self._renew_routes,
            self._stop,
        )

    def begin(self, introductions: Sequence[Message]) -> None:
        """Serve the versions there are, at first.

        Raises:
            ModelStoreError: all of them are damaged by now.
        """
        self._orders.begin(introductions)

    async def serve(self) -> None:
        """Run until the supervisor says stop or is gone."""
        loop = asyncio.get_running_loop()
        self._orders.listen()
        await self._orders.briefed.wait()  # whoever knows no instance yet would refuse everything
        await self._rpc.start()
        listener = socket.socket(fileno=self._listener)
        serving = loop.create_task(self._http.serve(sockets=[listener]))
        self._sampling = loop.create_task(self._sample())  # until the process ends
        # What is loaded now stays, and requests leave no cycles behind: the collector need neither
        # look at the one again nor for the others often.
        gc.freeze()
        gc.set_threshold(GC_OBJECTS, 10, 10)
        sys.setswitchinterval(SWITCH_S)
        set_slice(SLICE_S)
        self._control.send(Message("ready"))

        await self._stop.wait()

        # Both protocols stop taking and finish what they have; then nothing is left to decode.
        self._http.should_exit = True
        await asyncio.gather(serving, self._rpc.stop(self._settings.drain_timeout_s))
        for served in self._versions:
            served.dispatcher.close()
        self._aside.close()
        self._pool.close()
        self._log.close()
        if self._tracer is not None:
            self._tracer.close()

    def _versions_changed(self) -> None:
        self._rpc.health.tell(self._versions.ready)

    def _renew_routes(self) -> None:
        self._application.routes = self._routes.table()

    async def _sample(self) -> None:
        """Say that this process is well, and look whether its instances are."""
        while True:
            self._pulse.beat()
            await asyncio.sleep(BEAT_S)
            busy = any(served.dispatcher.busy for served in self._versions)
            self._work.share_out([served.counts for served in self._versions], busy=busy)
            for served in self._versions:
                served.sample()


def _body_limits(settings: Settings) -> BodyLimits:
    largest = settings.max_body_bytes
    return BodyLimits(largest, settings.body_timeout_s, max(settings.max_buffered_bytes, largest))


def _workers(order: FrontendOrder, settings: Settings) -> Workers:
    """What the whole pod has to work with."""
    frontends = settings.frontends
    return Workers(
        frontends,
        frontends * order.decode_threads,
        frontends * settings.max_queue_size,
        order.cores,
    )


def _tracer(settings: Settings, model: str, frontend: int) -> Tracer | None:
    if not settings.otlp_endpoint:
        return None
    from predictor.tracing import Tracer  # OpenTelemetry is loaded only where it is used

    return Tracer(settings.otlp_endpoint, model, frontend)


if __name__ == "__main__":
    main()
