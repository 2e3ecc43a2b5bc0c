"""Start → watch → drain → stop: the parent of all processes of a pod.

It owns the listening sockets and the shared memory, holds no model, and imports neither kserve nor
a runtime. Its children learn everything over their control channels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from prometheus_client.multiprocess import mark_process_dead

from model_store.package import ModelPackage
from predictor.child import LONGEST_BACKOFF_S, Child, all_ready
from predictor.control import Control, Message
from predictor.errors import StartupError
from predictor.listener import BACKLOG, bind, ignore_new_connections
from predictor.placement import Placement, place
from predictor.process import METRICS_FOLDER_VARIABLE, FrontendOrder, InstanceOrder
from predictor.settings import Settings
from predictor.slab import Board, Channel, Slab, SlabLayout

logger = logging.getLogger(__name__)

SETTLE_S = 0.2  # for connections the kernel has already made to be accepted and read
KILL_AFTER_S = 5.0  # how long a child may take to exit once it has nothing left to do


class Supervisor:
    """The life of one pod."""

    def __init__(self, settings: Settings, package: ModelPackage) -> None:
        self._settings = settings
        self._package = package
        self._model_name = settings.model_name or package.name
        cores = tuple(sorted(os.sched_getaffinity(0)))
        self._decode_threads = settings.decode_threads or len(cores)
        self._places: tuple[Placement, ...] = place(
            settings.device_list,
            settings.instances,
            cores,
            settings.instance_threads,
            pin_cores=settings.pin_cores,
        )
        manifest = package.manifest
        self._layout = SlabLayout(
            settings.max_queue_size, manifest.input.height, manifest.input.width, manifest.top_k
        )
        self._frontends = [Child("frontend", number) for number in range(settings.frontends)]
        self._instances = [Child("instance", number) for number in range(settings.instances)]
        self._stop = asyncio.Event()
        self._draining = False
        self._watchers: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and stop.

        Raises:
            StartupError: a port is taken, a model does not load, a golden check fails, …
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._metrics_folder = tempfile.mkdtemp(prefix="millrace-metrics-")
        try:
            with self._open_ports():
                self._board = Board.create(len(self._instances), len(self._frontends))
                await self._start()
                if not self._stop.is_set():
                    logger.info(
                        "serving %s version %s: http port %d, grpc port %d, "
                        "%d frontends, %d instances",
                        self._model_name,
                        self._package.version,
                        self._http_port,
                        self._grpc_port,
                        len(self._frontends),
                        len(self._instances),
                    )
                    await self._stop.wait()
                    await self._drain()
        finally:
            await self._end()
            shutil.rmtree(self._metrics_folder, ignore_errors=True)

    # Start

    @contextlib.contextmanager
    def _open_ports(self) -> Iterator[None]:
        """Listen for HTTP; hold the gRPC port, on which every frontend listens for itself."""
        settings = self._settings
        with (
            bind(settings.host, settings.http_port) as http,
            bind(settings.host, settings.grpc_port, shared=True) as rpc,
        ):
            http.listen(BACKLOG)
            self._http = http
            self._http_port = http.getsockname()[1]
            self._grpc_port = rpc.getsockname()[1]
            yield

    async def _start(self) -> None:
        """Start every process and wait until all are ready."""
        children = [*self._instances, *self._frontends]
        try:
            for child in children:
                await self._spawn(child)
        except OSError as error:
            raise StartupError(f"cannot start: {error.strerror or error}") from error
        ready = asyncio.create_task(all_ready(children))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait(
            {ready, stopped},
            timeout=self._settings.startup_timeout_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        ready.cancel()
        stopped.cancel()
        for child in children:
            if child.failure:
                raise StartupError(child.failure)
        late = [child.name for child in children if not child.ready.is_set()]
        if late and not self._stop.is_set():
            raise StartupError(
                f"{', '.join(late)} not ready within {self._settings.startup_timeout_s:g} s "
                "(startup_timeout_s)"
            )

    async def _spawn(self, child: Child) -> None:
        if child.kind == "frontend":
            self._renew_slab(child)  # before the process: this may fail, and it must not be alone
        mine, theirs = Control.pair()
        environment = {
            # The user's environment goes along, less our settings: they travel in the order.
            **{k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
            METRICS_FOLDER_VARIABLE: self._metrics_folder,
        }
        if child.kind == "instance":
            environment |= self._places[child.number].environment
        child.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"predictor.{child.kind}",
            str(theirs.socket.fileno()),
            pass_fds=(theirs.socket.fileno(),),
            env=environment,
            start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor alone
        )
        theirs.close()
        child.control = mine
        child.ready.clear()
        child.failure = ""
        asyncio.get_running_loop().add_reader(mine.socket, self._hear, child, mine)
        if child.kind == "instance":
            self._order_instance(child)
        else:
            self._order_frontend(child)
        watcher = asyncio.create_task(self._watch(child, child.process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _renew_slab(self, frontend: Child) -> None:
        if frontend.slab >= 0:
            os.close(frontend.slab)  # what its predecessor left undone, nobody waits for
            frontend.slab = -1
        frontend.slab = Slab.create(self._layout)

    def _order_instance(self, child: Child) -> None:
        order = InstanceOrder.of(
            self._settings,
            self._package.path,
            self._model_name,
            self._places[child.number],
            child.generation,
        )
        child.tell(Message("start", order.content()))

    def _order_frontend(self, child: Child) -> None:
        order = FrontendOrder(
            package=str(self._package.path),
            model_name=self._model_name,
            frontend=child.number,
            decode_threads=self._decode_threads,
            grpc_port=self._grpc_port,
            layout=asdict(self._layout),
            settings=self._settings.model_dump(mode="json", exclude={"config"}),
        )
        fds = (self._http.fileno(), child.slab, self._board)
        child.tell(Message("start", order.content(), fds))
        if self._draining:
            child.tell(Message("drain"))
        for instance in self._instances:
            if instance.ready.is_set():
                self._connect(child, instance)

    # Watch

    def _hear(self, child: Child, control: Control) -> None:
        """A child says it is ready, or why it cannot be."""
        message = control.receive()
        if message is None:
            asyncio.get_running_loop().remove_reader(control.socket)
            control.close()
        elif message.kind == "failed":
            child.failure = message.content["reason"]
        elif message.kind == "ready":
            child.cost = message.content
            child.ready.set()
            if child.kind == "instance":
                for frontend in self._frontends:
                    self._connect(frontend, child)

    def _connect(self, frontend: Child, instance: Child) -> None:
        """Give a frontend and an instance the two ends of a new channel."""
        left, right = Channel.pair()
        with left, right:
            content = {"instance": instance.number, "cost": instance.cost}
            frontend.tell(Message("attach", content, (left.fileno(),)))
            fds = (right.fileno(), frontend.slab)
            instance.tell(Message("attach", {"layout": asdict(self._layout)}, fds))

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Wait for a child's end; unless it was told to stop, put another in its place."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        code = await process.wait()
        with contextlib.suppress(OSError):
            mark_process_dead(  # type: ignore[no-untyped-call]
                process.pid, self._metrics_folder
            )
        if child.stopping:
            return
        was_ready = child.ready.is_set()
        child.ready.clear()
        if not was_ready and child.generation == 0:
            child.failure = (
                child.failure or f"{child.name} ended with code {code} before it was ready"
            )
            self._stop.set()
            return
        wait_s = child.backoff_s(lived_s=loop.time() - began)
        logger.warning(
            "%s ended with code %d%s; starting another in %g s",
            child.name,
            code,
            f" ({child.failure})" if child.failure else "",
            wait_s,
        )
        await self._replace(child, wait_s)

    async def _replace(self, child: Child, wait_s: float) -> None:
        """Start a successor, and keep trying while the machine has no room for one."""
        await asyncio.sleep(wait_s)
        child.generation += 1
        while not child.stopping:
            try:
                await self._spawn(child)
                break
            except OSError as error:
                logger.error("%s cannot be started: %s; trying again", child.name, error)  # noqa: TRY400
                await asyncio.sleep(LONGEST_BACKOFF_S)

    # Drain and stop

    async def _drain(self) -> None:
        """Say not ready, let endpoints be withdrawn, then let both protocols finish."""
        logger.info(
            "draining: not ready from now, ports close in %g s", self._settings.drain_delay_s
        )
        self._draining = True
        for frontend in self._frontends:
            frontend.tell(Message("drain"))
        await asyncio.sleep(self._settings.drain_delay_s)
        ignore_new_connections(self._http)
        await asyncio.sleep(SETTLE_S)
        await self._stop_children(self._frontends, self._settings.drain_timeout_s + KILL_AFTER_S)

    async def _end(self) -> None:
        """Stop whatever runs: frontends first, since instances finish what frontends accepted."""
        await self._stop_children(self._frontends, KILL_AFTER_S)
        await self._stop_children(self._instances, KILL_AFTER_S)
        for watcher in list(self._watchers):
            watcher.cancel()
        logger.info("stopped")

    async def _stop_children(self, children: Iterable[Child], timeout_s: float) -> None:
        running = []
        for child in children:
            child.stopping = True
            child.tell(Message("stop"))
            if child.running:
                running.append(child)
        if not running:
            return
        waits = [asyncio.ensure_future(child.ended()) for child in running]
        _, pending = await asyncio.wait(waits, timeout=timeout_s)
        if pending:
            for child in filter(lambda child: child.running, running):
                logger.warning("%s does not stop; killing it", child.name)
                child.kill()
            await asyncio.wait(pending)


def serve(settings: Settings, package: ModelPackage) -> None:
    """Run a pod in this process until it is told to stop.

    Raises:
        StartupError: it cannot start; one line that says why.
    """

    async def life() -> None:
        await Supervisor(settings, package).run()

    asyncio.run(life())
