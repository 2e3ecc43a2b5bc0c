"""The versions of a pod and who gets which requests; every frontend is kept informed of them.

What frontends are to know is changed here first and told then, so that a frontend that is started
meanwhile knows it as well.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import asdict

from predictor import pulse
from predictor.child import Child
from predictor.control import Message
from predictor.errors import StartupError
from predictor.loaded_version import LoadedVersion, board_rows
from predictor.process import VersionOrder
from predictor.slab import Channel

SPARE_S = 2.0  # beyond the deadline of the last request, until its client has been told


class Catalog:
    """Versions, traffic, and whether the pod drains.

    Args:
        frontends: the places of the pod's frontends.
        opening_s: how long they have to load a version.
        settling_s: how long they have for all else: the longest time a request may take.

    Attributes:
        versions: those that are loaded or being loaded, by name, oldest first.
        traffic: percent of the requests by version.
        source: where the versions come from and how that is, where it is a registry; shown as
            parameters of the model's configuration.
    """

    def __init__(self, frontends: list[Child], opening_s: float, settling_s: float) -> None:
        self.frontends = frontends
        self.versions: dict[str, LoadedVersion] = {}
        self.traffic: dict[str, int] = {}
        self.source: dict[str, str] = {}
        self._opening_s = opening_s
        self._settling_s = settling_s + SPARE_S
        self._draining = False
        self._asks = itertools.count(1)

    @property
    def instances(self) -> list[Child]:
        """Those of every version."""
        return [child for version in self.versions.values() for child in version.instances]

    @property
    def opened(self) -> list[LoadedVersion]:
        """The versions that frontends know."""
        return [version for version in self.versions.values() if version.open]

    @property
    def current(self) -> LoadedVersion:
        """The version with most of the requests."""
        return max(self.versions.values(), key=lambda version: self.traffic.get(version.name, -1))

    def version_of(self, instance: Child) -> LoadedVersion:
        """The version that an instance runs."""
        return next(v for v in self.versions.values() if instance in v.instances)

    def brief(self, frontend: Child) -> None:
        """Tell a frontend that has just been started all there is to know."""
        for version in self.opened:
            frontend.tell(_introduction(version, frontend))
        if self.source:
            frontend.tell(Message("source", self.source))
        if self._draining:
            frontend.tell(Message("drain"))
        for version in self.opened:
            for instance in version.instances if version.complete else ():
                if instance.ready.is_set():
                    _connect(frontend, version, instance)
        frontend.tell(Message("briefed"))
        frontend.settled.set()  # whatever its predecessor was asked

    def connect(self, instance: Child) -> None:
        """An instance is ready: connect it to every frontend; the first ones wait for the last.

        So the pod is not ready with a part of what it was given.
        """
        version = self.version_of(instance)
        if version.complete:
            self._connect_to_all(version, instance)
        elif all(each.ready.is_set() for each in version.instances):
            version.complete = True
            for each in version.instances:
                self._connect_to_all(version, each)

    def _connect_to_all(self, version: LoadedVersion, instance: Child) -> None:
        for frontend in self.frontends:
            # One that has not been started yet will be told by ``brief``.
            if version.open and frontend.running and frontend.number in version.slabs:
                _connect(frontend, version, instance)

    async def open(self, version: LoadedVersion) -> None:
        """Let frontends know a version whose instances are ready, and use it.

        Raises:
            StartupError: one of them cannot; OSError: no memory for its slots.
        """
        version.open = True
        error = await self._ask(lambda frontend: _introduction(version, frontend), self._opening_s)
        if error:
            raise StartupError(error)
        for instance in version.instances:
            if instance.ready.is_set():
                self._connect_to_all(version, instance)

    async def share(self, traffic: dict[str, int]) -> None:
        """Share the requests that name no version out among the versions, percent by version."""
        self.traffic = traffic
        await self._ask(lambda _: Message("traffic", {"traffic": traffic}), self._settling_s)

    async def admit(self, version: LoadedVersion, admitting: bool) -> None:
        """Have a version's requests taken; or refused, and wait until those taken are answered."""
        version.loaded = admitting
        content = {"version": version.name, "admitting": admitting}
        await self._ask(lambda _: Message("admit", content), self._settling_s)

    async def forget(self, version: LoadedVersion) -> None:
        """Drop a version whose instances have been stopped; its memory is given back."""
        del self.versions[version.name]
        if version.open:
            message = Message("forget", {"version": version.name})
            await self._ask(lambda _: message, self._settling_s)
        for instance in version.instances:
            pulse.close(instance.pulse_fd)
        version.release()

    def tell_source(self, **changes: str) -> None:
        """Let frontends know how the registry is, where the versions come from one."""
        self.source |= changes
        for frontend in self.frontends:
            frontend.tell(Message("source", self.source))

    def drain(self) -> None:
        """Tell every frontend that the pod is about to stop."""
        self._draining = True
        for frontend in self.frontends:
            frontend.tell(Message("drain"))

    async def _ask(self, message_for: Callable[[Child], Message], patience_s: float) -> str:
        """Wait until all frontends have done it, but not for ever.

        Returns:
            Why one of them could not; empty when all could.
        """
        number = next(self._asks)
        for frontend in self.frontends:
            frontend.settled.clear()
            frontend.last_error = ""
            message = message_for(frontend)
            frontend.asked = number
            frontend.tell(Message(message.kind, message.content | {"ask": number}, message.fds))
        waits = [asyncio.ensure_future(frontend.settled.wait()) for frontend in self.frontends]
        try:
            _, late = await asyncio.wait(waits, timeout=patience_s)
        finally:
            for wait in waits:
                wait.cancel()
        errors = [frontend.last_error for frontend in self.frontends if frontend.last_error]
        if late:
            errors.append(f"{len(late)} frontends have not done it within {patience_s:g} s")
        return errors[0] if errors else ""

    def settled(self, frontend: Child, message: Message) -> None:
        """A frontend has done what it was asked, or says why not."""
        if message.content["ask"] == frontend.asked:
            frontend.last_error = message.content["error"]
            frontend.settled.set()


def _introduction(version: LoadedVersion, frontend: Child) -> Message:
    if frontend.number not in version.slabs:
        version.renew_slab(frontend.number)
    order = VersionOrder(
        package=str(version.package.path),
        digest=version.package.digest,
        board_rows=board_rows(version.places, version.first),
        devices=tuple(version.place(instance).device for instance in version.instances),
        loaded=version.loaded,
        layout=asdict(version.slab_layout),
        statistics=asdict(version.statistics_layout),
    )
    fds = (version.slabs[frontend.number], version.board, version.statistics)
    return Message("version", order.content(), fds)


def _connect(frontend: Child, version: LoadedVersion, instance: Child) -> None:
    """Give a frontend and an instance the two ends of a new channel."""
    left, right = Channel.pair()
    with left, right:
        content = {
            "version": version.name,
            "instance": instance.number,
            "cost": instance.cost,
            "variant": instance.variant,
        }
        frontend.tell(Message("attach", content, (left.fileno(), instance.pulse_fd)))
        fds = (right.fileno(), version.slabs[frontend.number])
        instance.tell(Message("attach", {"layout": asdict(version.slab_layout)}, fds))
