"""The supervisor's end of a follower: a process that watches an alias, and what it brings."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from predictor.control import Control, Message
from predictor.follower_order import FollowerOrder
from predictor.process import METRICS_FOLDER_VARIABLE

logger = logging.getLogger(__name__)

ENDING_S = 1.0  # for a follower that looks at nothing but its channel to see that it is closed
PAUSE_S = 10.0  # before a follower that died is started again


class Following:
    """Keeps one follower.

    Args:
        order: what to follow.
        metrics_folder: where it keeps its Prometheus numbers.
        move: serves the package at a path as a version; gives what was wrong, or nothing.
        report: called with how the registry is, and with what it said.
    """

    def __init__(
        self,
        order: FollowerOrder,
        metrics_folder: str,
        move: Callable[[Path, str], Awaitable[str]],
        report: Callable[[str, str], None],
    ) -> None:
        self._order = order
        self._metrics_folder = metrics_folder
        self._move = move
        self._report = report

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                code = await self._life()
                logger.warning("the follower ended with code %d", code)
            except OSError as error:
                logger.error("the follower cannot be started: %s", error)  # noqa: TRY400
            await asyncio.sleep(PAUSE_S)

    async def _life(self) -> int:
        """Start a follower, and do what it says until it ends; its exit code."""
        mine, theirs = Control.pair()
        try:
            environment = {**os.environ, METRICS_FOLDER_VARIABLE: self._metrics_folder}
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "predictor.follower",
                str(theirs.socket.fileno()),
                pass_fds=(theirs.socket.fileno(),),
                env=environment,
                start_new_session=True,
            )
            theirs.close()
            try:
                mine.send(Message("start", self._order.content()))
                while await _readable(mine.socket) and (message := mine.receive()) is not None:
                    await self._obey(message, mine)
            finally:
                mine.close()  # which ends it, if it has not ended
                await asyncio.shield(_end(process))
        finally:
            mine.close()
            theirs.close()
        return process.returncode or 0

    async def _obey(self, message: Message, control: Control) -> None:
        content = message.content
        if message.kind == "registry":
            self._report(content["state"], content["problem"])
            return
        error = await self._move(Path(content["path"]), content["version"])
        if not error:
            # A successor of the follower begins with what is served then.
            self._order = replace(self._order, version=content["version"])
        control.send(Message("moved", {"error": error}))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait for its end, for a short while; it holds nothing that would be lost.

    What it fetches is whole, or is gone on with by its successor. One that has ended is not killed:
    asyncio would take its exit code away from whoever waits for that.
    """
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), ENDING_S)
        return
    process.kill()
    await process.wait()


async def _readable(connection: socket.socket) -> bool:
    """Wait until there is something to receive; True, so that it goes into a condition."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
    return True
