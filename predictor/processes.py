"""The frontends and instances of a pod: started, connected, watched, replaced, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from prometheus_client.multiprocess import mark_process_dead

from model_store.package import ModelPackage
from predictor.child import LONGEST_BACKOFF_S, Child
from predictor.control import Control, Message
from predictor.errors import StartupError
from predictor.placement import Placement
from predictor.process import METRICS_FOLDER_VARIABLE, FrontendOrder, InstanceOrder
from predictor.settings import Settings
from predictor.slab import Channel, Slab, SlabLayout
from predictor.statistics import StatisticsLayout

logger = logging.getLogger(__name__)

KILL_AFTER_S = 5.0  # how long a child may take to exit once it has nothing left to do


@dataclass(frozen=True, slots=True)
class Shared:
    """What a pod's processes have in common; made before them, and outliving each of them.

    Attributes:
        listener: descriptor of the HTTP socket.
        grpc_port: the port every frontend listens on for itself.
        board: descriptor of what is outstanding where.
        statistics: descriptor of the pod's counts.
        statistics_layout: its sizes.
        slab_layout: sizes of every frontend's slab.
        decode_threads: of every frontend.
        places: where the instances run, in their order.
        metrics_folder: where each process keeps its Prometheus numbers.
    """

    listener: int
    grpc_port: int
    board: int
    statistics: int
    statistics_layout: StatisticsLayout
    slab_layout: SlabLayout
    decode_threads: int
    places: Sequence[Placement]
    metrics_folder: str


class Processes:
    """All children of one supervisor.

    Args:
        settings: of the pod.
        package: the model served.
        model_name: the name it is served under.
        shared: what they have in common.
        on_message: called with what a child says beyond being ready or failed.
    """

    def __init__(
        self,
        settings: Settings,
        package: ModelPackage,
        model_name: str,
        shared: Shared,
        on_message: Callable[[Child, Message], None],
    ) -> None:
        self._settings = settings
        self._package = package
        self._model_name = model_name
        self._shared = shared
        self._on_message = on_message
        self.frontends = [Child("frontend", number) for number in range(settings.frontends)]
        self.instances = [Child("instance", number) for number in range(settings.instances)]
        self._announced: dict[str, Message] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    # Start

    async def start(self, children: Sequence[Child]) -> None:
        """Start the first process in each of these places and wait until all are ready.

        Raises:
            StartupError: one of them cannot be; the others run on and are the caller's to stop.
        """
        starts = {child.begin(): child for child in children}
        try:
            for child in children:
                await self._spawn(child)
        except OSError as error:
            raise StartupError(f"cannot start: {error.strerror or error}") from error
        timeout_s = self._settings.startup_timeout_s
        done, late = await asyncio.wait(
            starts, timeout=timeout_s, return_when=asyncio.FIRST_EXCEPTION
        )
        for start in done:
            start.result()
        if late:
            names = ", ".join(starts[start].name for start in starts if start in late)
            raise StartupError(f"{names} not ready within {timeout_s:g} s (startup_timeout_s)")

    async def _spawn(self, child: Child) -> None:
        if child.kind == "frontend":
            self._renew_slab(child)  # before the process: this may fail, and it must not be alone
        mine, theirs = Control.pair()
        environment = {
            # The user's environment goes along, less our settings: they travel in the order.
            **{k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
            METRICS_FOLDER_VARIABLE: self._shared.metrics_folder,
        }
        if child.kind == "instance":
            environment |= self._shared.places[child.number].environment
        start = child.started
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"predictor.{child.kind}",
            str(theirs.socket.fileno()),
            pass_fds=(theirs.socket.fileno(),),
            env=environment,
            start_new_session=True,  # a Ctrl-C in the terminal is for the supervisor alone
        )
        theirs.close()
        if child.stopping or child.started is not start:  # told to stop while this one was made
            mine.close()  # and with it, it goes
            process.kill()
            await process.wait()
            return
        child.process = process
        child.control = mine
        child.ready.clear()
        child.failure = ""
        asyncio.get_running_loop().add_reader(mine.socket, self._hear, child, mine)
        if child.kind == "instance":
            self._order_instance(child)
        else:
            self._order_frontend(child)
        watcher = asyncio.create_task(self._watch(child, process))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)

    def _renew_slab(self, frontend: Child) -> None:
        if frontend.slab >= 0:
            os.close(frontend.slab)  # what its predecessor left undone, nobody waits for
            frontend.slab = -1
        frontend.slab = Slab.create(self._shared.slab_layout)

    def _order_instance(self, child: Child) -> None:
        order = InstanceOrder.of(
            self._settings,
            self._package.path,
            self._model_name,
            self._shared.places[child.number],
            child.generation,
            self._shared.statistics_layout,
        )
        child.tell(Message("start", order.content(), (self._shared.statistics,)))

    def _order_frontend(self, child: Child) -> None:
        shared = self._shared
        order = FrontendOrder(
            package=str(self._package.path),
            model_name=self._model_name,
            frontend=child.number,
            decode_threads=shared.decode_threads,
            grpc_port=shared.grpc_port,
            layout=asdict(shared.slab_layout),
            statistics=asdict(shared.statistics_layout),
            settings=self._settings.model_dump(mode="json", exclude={"config"}),
        )
        fds = (shared.listener, child.slab, shared.board, shared.statistics)
        child.tell(Message("start", order.content(), fds))
        for message in self._announced.values():
            child.tell(message)
        for instance in self.instances:
            if instance.ready.is_set():
                self._connect(child, instance)

    def announce(self, message: Message) -> None:
        """Tell every frontend, and every one that is to come until ``withdraw``."""
        self._announced[message.kind] = message
        for frontend in self.frontends:
            frontend.tell(message)

    def withdraw(self, kind: str) -> None:
        """Announce that kind of message to new frontends no more."""
        self._announced.pop(kind, None)

    # Watch

    def _hear(self, child: Child, control: Control) -> None:
        """A child says it is ready, why it cannot be, or something for the supervisor."""
        message = control.receive()
        if message is None:
            asyncio.get_running_loop().remove_reader(control.socket)
            control.close()
        elif message.kind == "failed":
            child.failure = message.content["reason"]
        elif message.kind == "ready":
            self._became_ready(child, message)
        else:
            self._on_message(child, message)

    def _became_ready(self, child: Child, message: Message) -> None:
        child.ready.set()
        if child.starting and child.started is not None:
            child.started.set_result(None)
        if child.kind == "instance":
            child.cost = message.content
            for frontend in self.frontends:
                self._connect(frontend, child)

    def _connect(self, frontend: Child, instance: Child) -> None:
        """Give a frontend and an instance the two ends of a new channel."""
        left, right = Channel.pair()
        with left, right:
            content = {"instance": instance.number, "cost": instance.cost}
            frontend.tell(Message("attach", content, (left.fileno(),)))
            fds = (right.fileno(), frontend.slab)
            instance.tell(Message("attach", {"layout": asdict(self._shared.slab_layout)}, fds))

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Wait for a child's end; unless it was told to stop, put another in its place."""
        loop = asyncio.get_running_loop()
        began, start = loop.time(), child.started
        code = await process.wait()
        with contextlib.suppress(OSError):
            mark_process_dead(  # type: ignore[no-untyped-call]
                process.pid, self._shared.metrics_folder
            )
        if child.started is not start:
            return  # the place has been begun anew; this one's end is old news
        child.ready.clear()
        if child.starting and child.started is not None:
            reason = child.failure or f"{child.name} ended with code {code} before it was ready"
            child.started.set_exception(StartupError(reason))
            return
        if child.stopping:
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
        start = child.started
        await asyncio.sleep(wait_s)
        child.generation += 1
        while not child.stopping and child.started is start:
            try:
                await self._spawn(child)
                break
            except OSError as error:
                logger.error("%s cannot be started: %s; trying again", child.name, error)  # noqa: TRY400
                await asyncio.sleep(LONGEST_BACKOFF_S)

    # Stop

    async def stop(self, children: Iterable[Child], timeout_s: float) -> None:
        """Let these end what they have and exit; whoever takes longer is killed."""
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

    async def end(self) -> None:
        """Stop whatever runs: frontends first, since instances finish what frontends accepted."""
        await self.stop(self.frontends, KILL_AFTER_S)
        await self.stop(self.instances, KILL_AFTER_S)
        for watcher in list(self._watchers):
            watcher.cancel()
