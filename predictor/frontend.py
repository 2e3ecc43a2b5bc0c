"""One frontend process: the model behind REST and gRPC, answered by the attached instances."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from model_store.errors import ModelStoreError
from model_store.package import ModelPackage
from predictor.calibration import decode_timings
from predictor.capacity import Workers
from predictor.classifier import ImageClassifier
from predictor.control import Control, Message
from predictor.counts import StatisticsLayout
from predictor.decode_pool import DecodePool
from predictor.dispatch import Dispatcher, Queueing
from predictor.errors import StartupError
from predictor.frontend_work import Clocks, FrontendWork
from predictor.header import Header
from predictor.listener import BACKLOG
from predictor.metrics import FrontendMetrics, frontend_restarted
from predictor.observer import Observer
from predictor.preloaded import Preloaded
from predictor.process import (
    FrontendOrder,
    VersionOrder,
    enter_process,
    leave_stopping_to_the_supervisor,
    same_package,
    told,
)
from predictor.protocol.aside import Aside
from predictor.protocol.body import BodyLimits
from predictor.protocol.connections import Connections
from predictor.protocol.cors import Cors
from predictor.protocol.description import Description
from predictor.protocol.grpc import InferenceService
from predictor.protocol.grpc_server import GrpcServer
from predictor.protocol.http import Application
from predictor.protocol.rest import RestRoutes
from predictor.pulse import BEAT_S, Pulse
from predictor.repository import Repository
from predictor.request_log import RequestLog
from predictor.scheduling import set_slice
from predictor.served_version import ServedVersion
from predictor.settings import Settings
from predictor.slab import Board, Channel, Slab, SlabLayout
from predictor.statistics import Statistics
from predictor.types import BatchCost
from predictor.versions import Versions

if TYPE_CHECKING:
    from predictor.tracing import Tracer


logger = logging.getLogger(__name__)


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


SLICE_S = 0.0002  # of the event loop: it answers or refuses, and need not wait behind a batch
SWITCH_S = 0.0005  # how long a decoder may keep the interpreter's lock from the event loop
GC_OBJECTS = 20_000  # more objects made than given up, before the collector looks


@dataclass(frozen=True, slots=True)
class Prepared:
    """What takes long of introducing a version: its files checked, its golden images decoded."""

    package: ModelPackage
    decode_timings: list[tuple[Header, float]]

    @classmethod
    def of(cls, message: Message) -> Prepared:
        """For a message that introduces one.

        Raises:
            ModelStoreError: the package is damaged.
        """
        package = same_package(message.content["package"], message.content["digest"])
        return cls(package, decode_timings(package))


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
        self._preloaded = Preloaded(*preloaded)
        for fd in preloaded:
            os.close(fd)  # the mapping keeps the memory
        self._control = control
        self._order = order
        self._settings = settings
        self._queueing = settings.queueing
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
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
            self._preloaded,
            self._aside,
            one_priority=settings.priority_levels == 1,
        )
        limits = BodyLimits(
            settings.max_body_bytes,
            settings.body_timeout_s,
            max(settings.max_buffered_bytes, settings.max_body_bytes),
        )
        self._application = Application(
            {},  # until there is a version
            limits,
            self._observer,
            lambda: self._versions.draining,
            Cors.parse(settings.cors_origins),
        )
        connections = Connections(limits)
        self._http = _http_server(self._application, connections, settings)
        service = InferenceService(
            self._versions, description, self._repository, self._aside, self._observer
        )
        self._rpc = GrpcServer(service, settings, order.grpc_port)
        self._work = FrontendWork(Clocks(self._pool, connections.look).read)
        self._orders: dict[str, Callable[[Message], None]] = {
            "attach": self._attach,
            "traffic": lambda message: self._versions.share(message.content["traffic"]),
            "source": lambda message: self._versions.come_from(message.content),
            "forget": lambda message: self._forget(message.content["version"]),
            "controlled": self._repository.answered,
            "drain": lambda _: self._versions.drain(),
            "stop": lambda _: self._stop.set(),
        }

    async def serve(self) -> None:
        """Run until the supervisor says stop or is gone."""
        loop = asyncio.get_running_loop()
        await self._rpc.start()
        listener = socket.socket(fileno=self._listener)
        serving = loop.create_task(self._http.serve(sockets=[listener]))
        self._begin(self._sample())
        threading.Thread(target=self._listen, args=(loop,), name="control", daemon=True).start()
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

    async def _sample(self) -> None:
        """Say that this process is well, and look whether its instances are."""
        while True:
            self._pulse.beat()
            await asyncio.sleep(BEAT_S)
            self._work.share_out(served.counts for served in self._versions)
            for served in self._versions:
                served.sample()

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # What the supervisor says

    def begin(self, introductions: Sequence[Message]) -> None:
        """Serve the versions there are, at first; one that is damaged by now stops no other.

        Raises:
            ModelStoreError: all of them are.
        """
        problems = []
        for message in introductions:
            try:
                self.introduce(message, Prepared.of(message))
            except ModelStoreError as error:
                logger.error("cannot serve a version: %s", error)  # noqa: TRY400 (one line says it)
                problems.append(error)
        if problems and len(problems) == len(introductions):
            raise problems[0]

    def introduce(self, message: Message, prepared: Prepared) -> None:
        """Serve one version more; its instances are attached one by one, by later messages."""
        package = prepared.package
        slab, board, statistics = message.fds
        order = VersionOrder(**{k: v for k, v in message.content.items() if k != "ask"})
        settings, frontend = self._settings, self._order.frontend
        metrics = FrontendMetrics(self._versions.name, package.version)
        dispatcher = Dispatcher(
            Slab(slab, SlabLayout(**order.layout)),
            Board(board, order.board_rows, settings.frontends).outstanding,
            frontend,
            self._pool,
            Queueing(self._queueing, settings.preserve_ordering, package.manifest.input),
            metrics,
            self._versions.changed,
        )
        dispatcher.learn_decoding(prepared.decode_timings)
        self._versions.add(
            ServedVersion(
                ImageClassifier(
                    package, self._versions.name, dispatcher, self._queueing, self._preloaded
                ),
                metrics,
                Statistics(statistics, StatisticsLayout(**order.statistics)),
                frontend,
                tuple(order.devices),
                loaded=order.loaded,
            )
        )
        for fd in message.fds:
            os.close(fd)  # the mappings keep the memory
        self._application.routes = self._routes.table()

    def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for the supervisor's messages, in a thread of its own: they are few.

        So what takes long, such as checking a package's files, is done here.
        """
        while (message := self._control.receive()) is not None:
            prepared: Prepared | Exception | None = None
            if message.kind == "version":
                try:
                    prepared = Prepared.of(message)
                # Whatever it is: the supervisor waits to be told.
                except Exception as error:  # noqa: BLE001 (says why above)
                    prepared = error
            loop.call_soon_threadsafe(self._obey, message, prepared)
        loop.call_soon_threadsafe(self._stop.set)

    def _obey(self, message: Message, prepared: Prepared | Exception | None) -> None:
        content = message.content
        if message.kind == "admit":
            self._begin(self._admit(content["version"], content["admitting"], content["ask"]))
            return
        error = ""
        try:
            if isinstance(prepared, Exception):
                raise prepared
            if prepared is not None:
                self.introduce(message, prepared)
            else:
                self._orders[message.kind](message)
        except ModelStoreError as failure:
            error = str(failure)
        # As above.
        except Exception as failure:
            logger.exception("%s failed", message.kind)
            error = f"frontend {self._order.frontend}: {told(failure)}"
        if "ask" in content:
            self._control.send(Message("settled", {"ask": content["ask"], "error": error}))

    def _attach(self, message: Message) -> None:
        connection, signs = message.fds
        channel, pulse = Channel(socket.socket(fileno=connection)), Pulse(signs)
        os.close(signs)
        served = self._versions.get(message.content["version"])
        if served is None:  # this frontend could not load it, or has been told to forget it
            channel.close()
            return
        cost = BatchCost(**message.content["cost"])
        content = message.content
        served.attach(content["instance"], channel, cost, pulse, content["variant"])

    async def _admit(self, version: str, admitting: bool, ask: int) -> None:
        """Take a version's requests, or refuse them and wait until those taken are answered."""
        served = self._versions.get(version)
        if served is not None:
            served.admit(admitting)
            self._versions.changed()
            if not admitting:
                await served.dispatcher.settled()
        self._control.send(Message("settled", {"ask": ask, "error": ""}))

    def _forget(self, version: str) -> None:
        served = self._versions.remove(version)
        self._application.routes = self._routes.table()
        if served is not None:
            self._begin(_close_when_settled(served.dispatcher))


async def _close_when_settled(dispatcher: Dispatcher) -> None:
    """Let go of a version's memory; where its instances went too early, once deadlines passed."""
    await dispatcher.settled()
    dispatcher.close()


def _workers(order: FrontendOrder, settings: Settings) -> Workers:
    """What the whole pod has to work with."""
    frontends = settings.frontends
    return Workers(
        frontends,
        frontends * order.decode_threads,
        frontends * settings.max_queue_size,
        order.cores,
    )


def _http_server(application: Application, connections: Connections, settings: Settings) -> _Server:
    return _Server(
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
            timeout_keep_alive=settings.keep_alive_s,
            timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),
        )
    )


def _tracer(settings: Settings, model: str, frontend: int) -> Tracer | None:
    if not settings.otlp_endpoint:
        return None
    from predictor.tracing import Tracer  # OpenTelemetry is loaded only where it is used

    return Tracer(settings.otlp_endpoint, model, frontend)


if __name__ == "__main__":
    main()
