"""Start → watch → drain → stop: the parent of all processes of a pod.

It owns the listening sockets and the shared memory, holds no model, and imports neither kserve nor
a runtime. Its children learn everything over their control channels.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from collections.abc import Iterator

from model_store.package import ModelPackage
from predictor.child import Child
from predictor.control import Message
from predictor.listener import BACKLOG, bind, bind_shared, ignore_new_connections
from predictor.model_control import ModelControl
from predictor.placement import place
from predictor.processes import KILL_AFTER_S, Processes, Shared
from predictor.settings import Settings
from predictor.slab import Board, SlabLayout
from predictor.statistics import Statistics, StatisticsLayout
from predictor.warm_up import LARGEST

logger = logging.getLogger(__name__)

SETTLE_S = 0.2  # for connections the kernel has already made to be accepted and read


class Supervisor:
    """The life of one pod."""

    def __init__(self, settings: Settings, package: ModelPackage) -> None:
        self._settings = settings
        self._package = package
        self._model_name = settings.model_name or package.name
        self._cores = tuple(sorted(os.sched_getaffinity(0)))
        self._places = place(
            settings.device_list,
            settings.instances,
            self._cores,
            settings.instance_threads,
            pin_cores=settings.pin_cores,
        )
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and stop.

        Raises:
            StartupError: a port is taken, a model does not load, a golden check fails, …
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with self._shared() as shared:
            self._processes = Processes(
                self._settings, self._package, self._model_name, shared, self._hear
            )
            self._control = ModelControl(self._processes, self._settings, self._package)
            try:
                if await self._start():
                    logger.info(
                        "serving %s version %s: http port %d, grpc port %d, "
                        "%d frontends, %d instances",
                        self._model_name,
                        self._package.version,
                        self._http.getsockname()[1],
                        shared.grpc_port,
                        len(self._processes.frontends),
                        len(self._processes.instances),
                    )
                    await self._stop.wait()
                    await self._drain()
            finally:
                self._control.close()
                await self._processes.end()
                logger.info("stopped")

    @contextlib.contextmanager
    def _shared(self) -> Iterator[Shared]:
        """Listen for HTTP, hold the gRPC port, and make the memory all processes share."""
        settings, shape = self._settings, self._package.manifest
        counts = StatisticsLayout(
            settings.frontends, settings.instances, settings.max_batch_size or LARGEST
        )
        with (
            bind(settings.host, settings.http_port) as self._http,
            bind_shared(settings.host, settings.grpc_port) as rpc,
            tempfile.TemporaryDirectory(
                prefix="millrace-metrics-", ignore_cleanup_errors=True
            ) as folder,
        ):
            self._http.listen(BACKLOG)
            yield Shared(
                listener=self._http.fileno(),
                grpc_port=rpc.getsockname()[1],
                board=Board.create(settings.instances, settings.frontends),
                statistics=Statistics.create(counts),
                statistics_layout=counts,
                slab_layout=SlabLayout(
                    settings.max_queue_size, shape.input.height, shape.input.width, shape.top_k
                ),
                decode_threads=settings.decode_threads or len(self._cores),
                places=self._places,
                metrics_folder=folder,
            )

    async def _start(self) -> bool:
        """Start every process and wait until all are ready; False when told to stop before."""
        children = [*self._processes.instances, *self._processes.frontends]
        starting = asyncio.create_task(self._processes.start(children))
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    def _hear(self, child: Child, message: Message) -> None:
        if message.kind == "settled":
            child.settled.set()
        elif message.kind == "control":
            self._control.ask(child, message)

    async def _drain(self) -> None:
        """Say not ready, let endpoints be withdrawn, then let both protocols finish."""
        logger.info(
            "draining: not ready from now, ports close in %g s", self._settings.drain_delay_s
        )
        self._control.close()
        self._processes.announce(Message("drain"))
        await asyncio.sleep(self._settings.drain_delay_s)
        ignore_new_connections(self._http)
        await asyncio.sleep(SETTLE_S)
        await self._processes.stop(
            self._processes.frontends, self._settings.drain_timeout_s + KILL_AFTER_S
        )


def serve(settings: Settings, package: ModelPackage) -> None:
    """Run a pod in this process until it is told to stop.

    Raises:
        StartupError: it cannot start; one line that says why.
    """

    async def life() -> None:
        await Supervisor(settings, package).run()

    asyncio.run(life())
