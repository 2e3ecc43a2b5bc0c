"""What the supervisor says to a frontend, and how it is obeyed."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from model_store.errors import ModelStoreError
from predictor.control import Control, Message
from predictor.dispatch import Dispatcher
from predictor.introductions import Introductions, Prepared
from predictor.process import told
from predictor.pulse import Pulse
from predictor.repository import Repository
from predictor.slab import Channel
from predictor.types import BatchCost
from predictor.versions import Versions

logger = logging.getLogger(__name__)


class FrontendOrders:
    """The supervisor's messages to one frontend, obeyed on its event loop one after the other.

    Args:
        control: where they come.
        frontend: its number.
        versions: those it serves.
        introductions: how a version is added to them.
        repository: who waits for what the supervisor answers.
        renew_routes: called when there are other versions than before.
        stop: set when the supervisor says so or is gone.

    Attributes:
        briefed: set once all has been told that there was to know at the start, or nothing more is.
    """

    def __init__(
        self,
        control: Control,
        frontend: int,
        versions: Versions,
        introductions: Introductions,
        repository: Repository,
        renew_routes: Callable[[], None],
        stop: asyncio.Event,
    ) -> None:
        self._control = control
        self._frontend = frontend
        self._versions = versions
        self._introductions = introductions
        self._renew_routes = renew_routes
        self._stop = stop
        self.briefed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._orders: dict[str, Callable[[Message], None]] = {
            "attach": self._attach,
            "traffic": lambda message: versions.share(message.content["traffic"]),
            "source": lambda message: versions.come_from(message.content),
            "forget": lambda message: self._forget(message.content["version"]),
            "controlled": repository.answered,
            "drain": lambda _: versions.drain(),
            "briefed": lambda _: self.briefed.set(),
            "stop": lambda _: self._end(),
        }

    def begin(self, introductions: Sequence[Message]) -> None:
        """Serve the versions there are, at first; one that is damaged by now stops no other.

        Raises:
            ModelStoreError: all of them are.
        """
        problems = []
        for message in introductions:
            try:
                self._introduce(message, Prepared.of(message))
            except ModelStoreError as error:
                logger.error("cannot serve a version: %s", error)  # noqa: TRY400 (one line says it)
                problems.append(error)
        if problems and len(problems) == len(introductions):
            raise problems[0]

    def listen(self) -> None:
        """From now on obey, on the event loop that this is called on."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._listen, args=(loop,), name="control", daemon=True).start()

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
        loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.briefed.set()  # nothing more will come
        self._stop.set()

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
                self._introduce(message, prepared)
            else:
                self._orders[message.kind](message)
        except ModelStoreError as failure:
            error = str(failure)
        # As above.
        except Exception as failure:
            logger.exception("%s failed", message.kind)
            error = f"frontend {self._frontend}: {told(failure)}"
        if "ask" in content:
            self._control.send(Message("settled", {"ask": content["ask"], "error": error}))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # One order each

    def _introduce(self, message: Message, prepared: Prepared) -> None:
        self._introductions.introduce(message, prepared)
        self._renew_routes()

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
        self._renew_routes()
        if served is not None:
            self._begin(_close_when_settled(served.dispatcher))


async def _close_when_settled(dispatcher: Dispatcher) -> None:
    """Let go of a version's memory; where its instances went too early, once deadlines passed."""
    await dispatcher.settled()
    dispatcher.close()
