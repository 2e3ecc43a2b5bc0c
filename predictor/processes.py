"""The frontends and instances of a pod: started, connected, watched, replaced, stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from predictor import pulse
from predictor.catalog import Catalog
from predictor.child import Child
from predictor.control import Control, Message
from predictor.errors import StartupError
from predictor.metric_files import bury
from predictor.process import METRICS_FOLDER_VARIABLE, FrontendOrder, InstanceOrder, told
from predictor.pulse import Pulse
from predictor.settings import Settings

logger = logging.getLogger(__name__)

KILL_AFTER_S = 5.0  # how long a child may take to exit once it has nothing left to do


@dataclass(frozen=True, slots=True)
class Shared:
    """What a pod's processes have in common; made before them, and outliving each of them.

    Attributes:
        listener: descriptor of the HTTP socket.
        grpc_port: the port every frontend listens on for itself.
        metrics_folder: where each process keeps its Prometheus numbers.
    """

    listener: int
    grpc_port: int
    metrics_folder: str


class Processes:
    """All children of one supervisor.

    Args:
        settings: of the pod.
        model_name: the name the model is served under.
        shared: what they have in common.
        catalog: the frontends, and the versions with their instances.
        on_message: called with what a child says beyond being ready, failed or done.
    """

    def __init__(
        self,
        settings: Settings,
        model_name: str,
        shared: Shared,
        catalog: Catalog,
        on_message: Callable[[Child, Message], None],
    ) -> None:
        self._settings = settings
        self._model_name = model_name
        self._shared = shared
        self._on_message = on_message
        self._catalog = catalog
        self.frontends = catalog.frontends
        self.decode_threads = 1
        self.cores = 1
        self.preloaded: tuple[int, ...] = ()  # the descriptor of the preloaded images, if any
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def instances(self) -> list[Child]:
        """Those of every version."""
        return self._catalog.instances

    def children(self) -> Iterator[Child]:
        """Everybody."""
        yield from self.frontends
        yield from self.instances

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
        # Memory before the process: this may fail, and the process must not be alone.
        pulse.close(child.pulse_fd)
        child.pulse, child.pulse_fd = None, -1
        child.pulse_fd = Pulse.create()
        if child.kind == "frontend":
            for version in self._catalog.versions.values():
                version.renew_slab(child.number)
        mine, theirs = Control.pair()
        environment = {
            # The user's environment goes along, less our settings: they travel in the order.
            **{k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
            METRICS_FOLDER_VARIABLE: self._shared.metrics_folder,
        }
        if child.kind == "instance":
            environment |= self._catalog.version_of(child).place(child).environment
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
        child.spawned_ns = time.monotonic_ns()
        child.pulse = Pulse(child.pulse_fd)
        asyncio.get_running_loop().add_reader(mine.socket, self._hear, child, mine)
        if child.kind == "instance":
            self._order_instance(child)
        else:
            self._order_frontend(child)
        self._begin(self._watch(child, process))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _order_instance(self, child: Child) -> None:
        version = self._catalog.version_of(child)
        order = InstanceOrder.of(
            self._settings,
            version.package,
            version.variants.get(version.place(child).kind, self._settings.variant),
            self._model_name,
            version.place(child),
            child.number,
            child.generation,
            child.calibrates and child.starting,
            version.statistics_layout,
        )
        child.tell(Message("start", order.content(), (version.statistics, child.pulse_fd)))

    def _order_frontend(self, child: Child) -> None:
        catalog = self._catalog
        order = FrontendOrder(
            model_name=self._model_name,
            frontend=child.number,
            generation=child.generation,
            decode_threads=self.decode_threads,
            cores=self.cores,
            grpc_port=self._shared.grpc_port,
            versions=len(catalog.opened),
            traffic=catalog.traffic,
            settings=self._settings.model_dump(mode="json", exclude={"config"}),
        )
        fds = (self._shared.listener, child.pulse_fd, *self.preloaded)
        child.tell(Message("start", order.content(), fds))
        catalog.brief(child)

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
        elif message.kind == "fastest":
            version = self._catalog.version_of(child)
            agreed = version.agree(version.place(child).kind, message.content["variant"])
            child.tell(Message("variant", {"variant": agreed}))
        elif message.kind == "settled":
            self._catalog.settled(child, message)
        else:
            self._on_message(child, message)

    def _became_ready(self, child: Child, message: Message) -> None:
        if child.pulse is not None:
            child.pulse.beat()  # from now on it has to do so itself
        child.ready.set()
        if child.starting and child.started is not None:
            child.started.set_result(None)
        if child.kind == "instance":
            child.cost = message.content["cost"]
            child.decode_s = message.content["decode_s"]
            child.variant = message.content["variant"]
            self._catalog.connect(child)

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Wait for a child's end; unless it was told to stop, put another in its place."""
        loop = asyncio.get_running_loop()
        began, start = loop.time(), child.started
        code = await process.wait()
        self._clear_up_after(child, process.pid)
        if child.started is not start:
            return  # the place has been begun anew; this one's end is old news
        child.ready.clear()
        if child.starting and child.started is not None:
            reason = child.failure or f"{child.name} ended with code {code} before it was ready"
            child.started.set_exception(StartupError(reason))
            return
        if child.stopping:
            return
        lived_s = loop.time() - began
        wait_s = child.backoff_s(lived_s, self._settings.longest_backoff_s)
        logger.warning(
            "%s ended with code %d%s; starting another in %g s",
            child.name,
            code,
            f" ({child.failure})" if child.failure else "",
            wait_s,
        )
        await self._replace(child, wait_s)

    def _clear_up_after(self, child: Child, pid: int) -> None:
        """Deal with what a process that has ended leaves behind; nobody waits for it."""
        if child.kind == "frontend":
            for version in self._catalog.versions.values():
                version.forget_work_of(child.number)
        self._begin(self._bury(pid))

    async def _bury(self, pid: int) -> None:
        # In a thread: it waits for who reads the metrics, which may be a frontend that hangs.
        try:
            await asyncio.to_thread(bury, pid, Path(self._shared.metrics_folder))
        # A file that the process left half-written, say: its counts are lost, and nothing else.
        except Exception as error:  # noqa: BLE001 (says why above)
            logger.warning("what process %d counted is lost: %s", pid, told(error))

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
                await asyncio.sleep(self._settings.longest_backoff_s)

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
        for task in list(self._tasks):
            task.cancel()
