"""Loads and unloads a pod's model while it runs; the supervisor's end of the repository extension.

Unloading gives the instances' memory back: new requests are refused, what was accepted is finished,
then the instances go. Loading starts them anew from the package on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from model_store.errors import ModelStoreError
from model_store.package import ModelPackage, load_package
from predictor.child import Child
from predictor.control import Message
from predictor.errors import StartupError
from predictor.processes import KILL_AFTER_S, Processes
from predictor.settings import Settings

logger = logging.getLogger(__name__)

STOPPING = "the pod is stopping"


class ModelControl:
    """Carries out one load or unload at a time.

    Args:
        processes: the pod's.
        settings: the pod's.
        package: the model that was loaded at the start, and is loaded again.
    """

    def __init__(self, processes: Processes, settings: Settings, package: ModelPackage) -> None:
        self._processes = processes
        self._settings = settings
        self._package = package
        self._loaded = True
        self._closed = False
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, frontend: Child, message: Message) -> None:
        """Begin what a frontend asks for; it is told when that is done or has failed."""
        asker = frontend.process  # not a successor of it, which has asked for nothing

        def answer(error: str) -> None:
            if frontend.process is asker:
                content = {"number": message.content["number"], "error": error}
                frontend.tell(Message("controlled", content))

        if self._closed:
            answer(STOPPING)
            return
        task = asyncio.create_task(self._carry_out(message.content["action"], answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up what is under way, and take no more: the pod stops."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    async def _carry_out(self, action: str, answer: Callable[[str], None]) -> None:
        """Load or unload when its turn has come; whoever asked is answered whatever happens."""
        error = ""
        try:
            async with self._turn:
                await (self._load() if action == "load" else self._unload())
        except (ModelStoreError, StartupError) as failure:
            error = str(failure)
        except asyncio.CancelledError:
            answer(STOPPING)
            raise
        except Exception:  # what nobody foresaw
            logger.exception("%s failed", action)
            error = "it failed; the log says how"
        logger.info("%s the model: %s", action, error or "done")
        answer(error)

    async def _unload(self) -> None:
        if not self._loaded:
            return
        self._loaded = False
        await self._tell_frontends("unload")
        await self._processes.stop(self._processes.instances, KILL_AFTER_S)

    async def _load(self) -> None:
        if self._loaded:
            return
        package = await asyncio.to_thread(load_package, self._package.path)
        if package.version != self._package.version:
            raise StartupError(
                f"{package.path} holds version {package.version} now; "
                f"this pod serves version {self._package.version}"
            )
        try:
            await self._processes.start(self._processes.instances)
        except StartupError:
            await self._processes.stop(self._processes.instances, KILL_AFTER_S)
            raise
        self._loaded = True
        self._processes.withdraw("unload")
        await self._tell_frontends("load")
        self._processes.withdraw("load")

    async def _tell_frontends(self, kind: str) -> None:
        """Wait until all have done it; not for longer than a drain may take, as at a stop."""
        frontends = self._processes.frontends
        for frontend in frontends:
            frontend.settled.clear()
        self._processes.announce(Message(kind))
        waits = [asyncio.ensure_future(frontend.settled.wait()) for frontend in frontends]
        _, late = await asyncio.wait(waits, timeout=self._settings.drain_timeout_s)
        for wait in late:
            wait.cancel()
