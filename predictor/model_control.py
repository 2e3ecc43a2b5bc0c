"""Changes the versions of a pod's model while it serves; the supervisor's end of the repository.

A new version loads beside the old one and is proven by its golden images before any frontend knows
of it. Then it takes all requests, and the old one answers what it has accepted and goes; or both
stand side by side and share the requests. Nothing accepted is lost on the way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from model_store.errors import ModelStoreError
from model_store.package import ModelPackage, load_package
from model_store.store import version_beside
from predictor.catalog import Catalog
from predictor.child import Child
from predictor.control import Message
from predictor.errors import StartupError
from predictor.loaded_version import LoadedVersion
from predictor.placement import Placement
from predictor.processes import KILL_AFTER_S, Processes
from predictor.settings import Settings
from predictor.traffic import WHOLE, with_share, without_share

logger = logging.getLogger(__name__)

STOPPING = "the pod is stopping"


class ModelControl:
    """Carries out one change at a time.

    Args:
        processes: the pod's.
        catalog: its versions, one at least.
        settings: the pod's.
        places: where the instances of each version run.
    """

    def __init__(
        self,
        processes: Processes,
        catalog: Catalog,
        settings: Settings,
        places: Callable[[], list[Placement]],
    ) -> None:
        self._processes = processes
        self._catalog = catalog
        self._settings = settings
        self._places = places
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
        task = asyncio.create_task(
            self._carry_out(message.content["action"], message.content["parameters"], answer)
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Give up what is under way, and take no more: the pod stops."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    async def _carry_out(
        self, action: str, parameters: Mapping[str, Any], answer: Callable[[str], None]
    ) -> None:
        """Do it when its turn has come; whoever asked is answered whatever happens."""
        actions: dict[str, Callable[[Mapping[str, Any]], Awaitable[None]]] = {
            "load": lambda asked: self._load(asked.get("version", ""), asked.get("traffic")),
            "unload": lambda asked: self._unload(asked.get("version", "")),
            "traffic": lambda asked: self._share(asked["traffic"]),
        }
        detail = " ".join(f"{name} {value}" for name, value in parameters.items())
        what = f"{action} {detail or 'the model'}"
        try:
            answer(await self._do(what, lambda: actions[action](parameters)))
        except asyncio.CancelledError:
            answer(STOPPING)
            raise

    async def follow(self, path: Path, version: str) -> str:
        """Have all requests answered by ``version``, whose package is at ``path``.

        Returns:
            Why that cannot be, and then all is as before; empty when it is done.
        """
        if self._closed:
            return STOPPING
        what = f"change to version {version}"
        return await self._do(what, lambda: self._load_from(path, version, None))

    async def _do(self, what: str, action: Callable[[], Awaitable[None]]) -> str:
        """Do it when its turn has come; gives why it could not be done, or nothing."""
        error = ""
        try:
            async with self._turn:
                await action()
        except (ModelStoreError, StartupError) as failure:
            error = str(failure)
        except Exception:  # what nobody foresaw
            logger.exception("%s failed", what)
            error = "it failed; the log says how"
        logger.info("%s: %s", what, error or "done")
        return error

    # Load

    async def _load(self, wanted: str, share: int | None) -> None:
        """Load ``wanted``, or what is at the model's place on disk now.

        Args:
            wanted: a version beside the one served; empty: the place it was loaded from.
            share: percent of the requests it gets; None: all, and the others go.
        """
        await self._load_from(self._path(wanted), wanted, share)

    async def _load_from(self, path: Path, wanted: str, share: int | None) -> None:
        package = await asyncio.to_thread(load_package, path)
        there = self._catalog.versions.get(package.version)
        if wanted and package.version != wanted:
            raise StartupError(f"{path} holds version {package.version}")
        if package.name != self._catalog.current.package.name:
            raise StartupError(f"{path} is of model {package.name}")
        if there is not None and there.package.digest != package.digest:
            raise StartupError(
                f"{path} holds another package than version {package.version} was; "
                "put it in a version of its own"
            )
        if there is None:
            await self._load_beside(package)
        elif not there.loaded:
            await self._load_again(there)
        version = self._catalog.versions[package.version]
        if share is not None:
            shares = with_share(self._loaded_shares(), version.name, share)
            await self._catalog.share(shares)
        elif there is None or wanted:
            await self._take_over(version)

    def _path(self, wanted: str) -> Path:
        current = self._catalog.current.package
        return version_beside(current.path, wanted) if wanted else current.path

    async def _load_beside(self, package: ModelPackage) -> None:
        places = self._places()
        try:
            version = LoadedVersion.reserve(
                self._settings, package, places, self._free_numbers(len(places))
            )
        except OSError as error:
            raise StartupError(f"cannot load: {error.strerror or error}") from error
        self._catalog.versions[version.name] = version
        self._catalog.traffic[version.name] = 0
        try:
            await self._processes.start(version.instances)
            await self._catalog.open(version)
        except BaseException as error:
            await self._remove(version)
            if isinstance(error, OSError):
                raise StartupError(f"cannot load: {error.strerror or error}") from error
            raise

    async def _load_again(self, version: LoadedVersion) -> None:
        version.complete = False
        try:
            await self._processes.start(version.instances)
        except StartupError:
            await self._processes.stop(version.instances, KILL_AFTER_S)
            raise
        await self._catalog.admit(version, admitting=True)

    async def _take_over(self, version: LoadedVersion) -> None:
        """Give ``version`` every request from now on; the others finish theirs and go."""
        others = [other for other in self._catalog.versions.values() if other is not version]
        nobody = dict.fromkeys(self._catalog.versions, 0)
        await self._catalog.share(nobody | {version.name: WHOLE})
        for other in others:
            await self._retire(other)

    # Unload

    async def _unload(self, wanted: str) -> None:
        """Unload one version, or all of them; the last one stays known and can be loaded again."""
        versions = self._catalog.versions
        if wanted and wanted not in versions:
            raise StartupError(f"version {wanted} is not loaded")
        leaving = [versions[wanted]] if wanted else list(versions.values())
        for version in leaving:
            if any(other.loaded for other in versions.values() if other is not version):
                await self._catalog.share(without_share(self._loaded_shares(), version.name))
                await self._retire(version)
            elif version.loaded:
                await self._catalog.admit(version, admitting=False)
                await self._processes.stop(version.instances, KILL_AFTER_S)

    async def _retire(self, version: LoadedVersion) -> None:
        """Let a version that gets no more requests finish, and drop it."""
        await self._catalog.admit(version, admitting=False)
        await self._remove(version)

    async def _remove(self, version: LoadedVersion) -> None:
        await self._processes.stop(version.instances, KILL_AFTER_S)
        self._catalog.traffic.pop(version.name, None)
        await self._catalog.forget(version)

    # Traffic

    async def _share(self, traffic: Mapping[str, int]) -> None:
        for name in traffic:
            version = self._catalog.versions.get(name)
            if version is None or not version.loaded:
                raise StartupError(f"version {name} is not loaded")
        await self._catalog.share(dict.fromkeys(self._catalog.versions, 0) | dict(traffic))

    def _loaded_shares(self) -> dict[str, int]:
        return {
            name: share
            for name, share in self._catalog.traffic.items()
            if self._catalog.versions[name].loaded
        }

    def _free_numbers(self, count: int) -> int:
        """The first of ``count`` numbers in a row that no instance has."""
        taken = {instance.number for instance in self._catalog.instances}
        first = 0
        while taken.intersection(range(first, first + count)):
            first += 1
        return first
