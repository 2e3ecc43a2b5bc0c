"""One frontend process: the model behind REST and gRPC, answered by the attached instances."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import socket
import sys
import threading
import time
import warnings
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from model_store.package import load_package
from predictor.busy import BusyWindow
from predictor.classifier import ImageClassifier
from predictor.control import Control, Message
from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher
from predictor.errors import StartupError
from predictor.listener import BACKLOG
from predictor.metrics import BusyRatios, FrontendMetrics
from predictor.observer import Observer
from predictor.process import FrontendOrder, enter_process, leave_stopping_to_the_supervisor
from predictor.protocol.aside import Aside
from predictor.protocol.body import BodyLimits
from predictor.protocol.connections import Connections
from predictor.protocol.cors import Cors
from predictor.protocol.description import Description
from predictor.protocol.grpc import InferenceService
from predictor.protocol.grpc_server import GrpcServer
from predictor.protocol.http import Application
from predictor.protocol.rest import RestRoutes
from predictor.repository import Repository
from predictor.request_log import RequestLog
from predictor.settings import Settings
from predictor.slab import Board, Channel, Slab, SlabLayout
from predictor.statistics import Statistics, StatisticsLayout
from predictor.types import BatchCost

if TYPE_CHECKING:
    from predictor.tracing import Tracer

BUSY_SAMPLE_S = 0.5


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

    async def life() -> None:
        await Frontend(control, order, settings, start.fds).serve()

    try:
        uvloop.run(life())
    except StartupError as error:
        control.send(Message("failed", {"reason": str(error)}))
        sys.exit(1)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Frontend:
    """One frontend's life: start → serve until told → drain → stop. Made on its event loop.

    Args:
        control: the supervisor's.
        order: what to serve.
        settings: of the pod.
        fds: descriptors of the HTTP listener, the slab, the board and the statistics.

    Raises:
        StartupError: it cannot start; says why.
    """

    def __init__(
        self, control: Control, order: FrontendOrder, settings: Settings, fds: tuple[int, ...]
    ) -> None:
        self._listener, slab, board, statistics = fds
        self._control = control
        self._settings = settings
        self._attached = False  # whether an instance takes work
        self._loaded = True
        self._draining = False
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._package = load_package(Path(order.package))
        self._metrics = FrontendMetrics(order.model_name, self._package.version)
        self._statistics = Statistics(statistics, StatisticsLayout(**order.statistics))
        self._tracer = _tracer(settings, order.model_name, self._package.version, order.frontend)
        self._log = RequestLog(settings.request_log, time.monotonic)
        self._observer = Observer(
            self._metrics, self._statistics.requests(order.frontend), self._log, self._tracer
        )
        self._pool = DecodePool(
            order.decode_threads,
            self._package.manifest.input,
            settings.decode_limits,
            settings.scaled_decode,
            asyncio.get_running_loop(),
        )
        self._dispatcher = Dispatcher(
            Slab(slab, SlabLayout(**order.layout)),
            Board(board, settings.instances, settings.frontends).outstanding,
            order.frontend,
            self._pool,
            self._metrics,
            self._set_attached,
        )
        self._classifier = ImageClassifier(
            self._package, order.model_name, self._dispatcher, settings.request_timeout_s
        )
        self._busy = BusyWindow(self._statistics.busy_ns)
        self._repository = Repository(
            order.model_name,
            self._package.version,
            settings.repository_token,
            lambda: self.ready,
            control.send,
        )
        description = Description(self._classifier, settings, self._statistics, self._repository)
        self._aside = Aside()
        self._http = self._http_server(description)
        service = InferenceService(
            self._classifier,
            description,
            self._repository,
            self._aside,
            lambda: self.ready,
            self._observer,
        )
        self._rpc = GrpcServer(service, settings, order.grpc_port)

    def _http_server(self, description: Description) -> _Server:
        settings = self._settings
        limits = BodyLimits(
            settings.max_body_bytes,
            settings.body_timeout_s,
            max(settings.max_buffered_bytes, settings.max_body_bytes),
        )
        routes = RestRoutes(
            self._classifier,
            description,
            self._repository,
            BusyRatios(self._classifier.name, self._busy.ratios),
            self._aside,
            lambda: self.ready,
        )
        application = Application(
            routes.table(),
            limits,
            self._observer,
            lambda: self._draining,
            Cors.parse(settings.cors_origins),
        )
        return _Server(
            uvicorn.Config(
                application,
                http=Connections(limits),  # type: ignore[arg-type]  # uvicorn calls it, no more
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

    async def serve(self) -> None:
        """Run until the supervisor says stop or is gone."""
        loop = asyncio.get_running_loop()
        await self._rpc.start()
        listener = socket.socket(fileno=self._listener)
        serving = loop.create_task(self._http.serve(sockets=[listener]))
        self._begin(self._sample_busy())
        threading.Thread(target=self._listen, args=(loop,), name="control", daemon=True).start()
        gc.freeze()  # what is loaded now stays: the collector need not look at it again
        self._control.send(Message("ready"))

        await self._stop.wait()

        # Both protocols stop taking and finish what they have; then nothing is left to decode.
        self._http.should_exit = True
        await asyncio.gather(serving, self._rpc.stop(self._settings.drain_timeout_s))
        self._dispatcher.close()
        self._aside.close()
        self._pool.close()
        self._log.close()
        if self._tracer is not None:
            self._tracer.close()

    @property
    def ready(self) -> bool:
        """An instance takes work, the model is loaded and the pod is not about to stop."""
        return self._attached and self._loaded and not self._draining

    def _set_attached(self, attached: bool) -> None:
        self._attached = attached
        self._ready_changed()

    def _ready_changed(self) -> None:
        self._classifier.ready = self.ready
        self._rpc.health.tell(self.ready)

    async def _sample_busy(self) -> None:
        while True:
            await asyncio.sleep(BUSY_SAMPLE_S)
            self._busy.sample()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the supervisor says

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
        elif message.kind in ("load", "unload"):
            self._loaded = message.kind == "load"
            self._dispatcher.admit(self._loaded)
            self._ready_changed()
            self._begin(self._say_when_settled())
        elif message.kind == "controlled":
            self._repository.answered(message)
        elif message.kind == "drain":
            self._draining = True
            self._ready_changed()
        elif message.kind == "stop":
            self._stop.set()

    async def _say_when_settled(self) -> None:
        if not self._loaded:
            await self._dispatcher.settled()
        self._control.send(Message("settled"))


def _tracer(settings: Settings, model: str, version: str, frontend: int) -> Tracer | None:
    if not settings.otlp_endpoint:
        return None
    from predictor.tracing import Tracer  # OpenTelemetry is loaded only where it is used

    return Tracer(settings.otlp_endpoint, model, version, frontend)


if __name__ == "__main__":
    main()
