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
from pathlib import Path

from predictor.calibration import default_decode_threads, default_frontends, split
from predictor.catalog import Catalog
from predictor.child import Child
from predictor.control import Message
from predictor.errors import StartupError
from predictor.following import Following
from predictor.listener import BACKLOG, bind, bind_shared, ignore_new_connections
from predictor.loaded_version import LoadedVersion
from predictor.machine import look
from predictor.model_control import ModelControl
from predictor.model_source import ModelSource
from predictor.placement import Placement, parse_devices, place
from predictor.preloaded import preload
from predictor.processes import KILL_AFTER_S, Processes, Shared
from predictor.settings import Settings
from predictor.traffic import WHOLE
from predictor.types import BatchCost
from predictor.watchdog import Watchdog

logger = logging.getLogger(__name__)

SETTLE_S = 0.2  # for connections the kernel has already made to be accepted and read


class Supervisor:
    """The life of one pod."""

    def __init__(self, settings: Settings, source: ModelSource) -> None:
        self._machine = look()
        frontends = settings.frontends or default_frontends(self._machine.usable)
        settings = self._settings = settings.model_copy(update={"frontends": frontends})
        self._source = source
        package = self._package = source.package
        self._model_name = settings.model_name or package.name
        self._devices = parse_devices(settings.device_list, self._machine, os.environ)
        self._calibrates = (
            settings.instances == 0
            and settings.instance_threads == 0
            and all(device.kind == "cpu" and not device.threads for device in self._devices)
        )
        found = self._machine.usable if self._calibrates else len(self._devices)
        self._instances = settings.instances or found
        self._stop = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and stop.

        Raises:
            StartupError: a port is taken, a model does not load, a golden check fails, …
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        with self._shared() as shared:
            settings = self._settings
            frontends = [Child("frontend", number) for number in range(settings.frontends)]
            self._catalog = Catalog(
                frontends, settings.startup_timeout_s, settings.request_timeout_s
            )
            processes = self._processes = Processes(
                settings, self._model_name, shared, self._catalog, self._hear
            )
            self._control = ModelControl(processes, self._catalog, settings, self._places)
            watchdog = Watchdog(
                processes.children, settings.hang_timeout_s, settings.startup_timeout_s
            )
            tasks = [loop.create_task(watchdog.watch())]
            try:
                if await self._start():
                    logger.info(
                        "serving %s version %s: http port %d, grpc port %d, "
                        "%d frontends, %d instances",
                        self._model_name,
                        self._package.version,
                        self._http.getsockname()[1],
                        shared.grpc_port,
                        len(processes.frontends),
                        len(processes.instances),
                    )
                    self._source.served(settings, self._package)
                    if settings.follow:
                        self._following = loop.create_task(self._follow(shared.metrics_folder))
                        tasks.append(self._following)
                    await self._stop.wait()
                    await self._drain()
            finally:
                self._control.close()
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                await processes.end()
                logger.info("stopped")

    @contextlib.contextmanager
    def _shared(self) -> Iterator[Shared]:
        """Listen for HTTP, hold the gRPC port, and make room for the metrics of all processes."""
        settings = self._settings
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
                metrics_folder=folder,
            )

    def _places(self) -> list[Placement]:
        """Where the instances of one version run."""
        settings = self._settings
        return list(
            place(
                self._devices,
                self._instances,
                self._machine,
                os.environ,
                settings.instance_threads or int(self._calibrates),
                pin_cores=settings.pin_cores,
            )
        )

    async def _start(self) -> bool:
        """Start every process and wait until all are ready; False when told to stop before."""
        starting = asyncio.create_task(self._start_first())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not starting.done():
            starting.cancel()
            return False
        starting.result()
        return True

    async def _start_first(self) -> None:
        """Start the version the pod was made for, and the frontends."""
        processes, settings = self._processes, self._settings
        if settings.preload is not None:
            # In a thread, so that a pod which is told to stop meanwhile does.
            wanted = settings.preload, settings.preload_max_bytes, self._is_wanted
            processes.preloaded = (await asyncio.to_thread(preload, *wanted),)
        places = self._places()
        processes.cores = self._machine.usable
        processes.decode_threads = settings.decode_threads or default_decode_threads(
            self._machine.usable,
            sum(place.threads for place in places if place.on_cores),
            settings.frontends,
        )
        try:
            version = LoadedVersion.reserve(settings, self._package, places, 0)
        except OSError as error:
            raise StartupError(f"cannot start: {error.strerror or error}") from error
        version.open = True  # frontends that start now learn of it at once
        self._catalog.versions[version.name] = version
        self._catalog.traffic[version.name] = WHOLE
        left = version.instances
        if self._calibrates:
            await self._calibrate(version)
            left = version.instances[1:]
        await processes.start([*left, *processes.frontends])

    def _is_wanted(self) -> bool:
        return not self._stop.is_set()

    async def _calibrate(self, version: LoadedVersion) -> None:
        """Start one instance, and find by what it measures how many there are to be."""
        first = version.instances[0]
        first.calibrates = True
        await self._processes.start([first])
        infer_s = BatchCost(**first.cost).image_seconds
        frontends = self._settings.frontends
        found = split(
            self._machine.usable,
            first.decode_s,
            infer_s,
            frontends,
            self._settings.decode_threads,
        )
        logger.info(
            "%.2f ms to decode an image and %.2f ms to infer it, each on one thread: "
            "%d decode threads and %d instances on %d cores",
            first.decode_s * 1e3,
            infer_s * 1e3,
            found.decode_threads,
            found.instances,
            self._machine.usable,
        )
        self._instances = found.instances
        self._processes.decode_threads = found.decode_threads // frontends
        version.keep(found.instances)
        self._catalog.connect(first)  # it may be the only one

    def _hear(self, child: Child, message: Message) -> None:
        if message.kind == "control":
            self._control.ask(child, message)

    async def _follow(self, metrics_folder: str) -> None:
        """Change to what the registry's alias is moved to, for as long as the pod serves."""
        source, settings, catalog = self._source, self._settings, self._catalog
        state = "down" if source.problem else "up"
        catalog.tell_source(source=source.uri, registry=state, registry_problem=source.problem)

        async def move(path: Path, version: str) -> str:
            error = await self._control.follow(path, version)
            if not error:
                source.served(settings, catalog.versions[version].package)
            return error

        def report(state: str, problem: str) -> None:
            catalog.tell_source(registry=state, registry_problem=problem)

        order = source.order(settings, self._model_name)
        await Following(order, metrics_folder, move, report).run()

    async def _drain(self) -> None:
        """Say not ready, let endpoints be withdrawn, then let both protocols finish."""
        logger.info(
            "draining: not ready from now, ports close in %g s", self._settings.drain_delay_s
        )
        self._control.close()
        if self._following is not None:
            self._following.cancel()
        self._catalog.drain()
        await asyncio.sleep(self._settings.drain_delay_s)
        ignore_new_connections(self._http)
        await asyncio.sleep(SETTLE_S)
        await self._processes.stop(
            self._processes.frontends, self._settings.drain_timeout_s + KILL_AFTER_S
        )


def serve(settings: Settings, source: ModelSource) -> None:
    """Run a pod in this process until it is told to stop.

    Raises:
        StartupError: it cannot start; one line that says why.
    """

    async def life() -> None:
        await Supervisor(settings, source).run()

    asyncio.run(life())
