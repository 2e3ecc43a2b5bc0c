"""One place in a pod, and the process that holds it now."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any, Literal

from predictor.control import Control, Message
from predictor.pulse import Pulse

BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # before the n-th restart in a row
STEADY_S = 60.0  # a child that lived this long starts over at the first backoff


@dataclass(slots=True, eq=False)
class Child:
    """A frontend or an instance, over all the processes that take its place in turn.

    Attributes:
        started: done once the first process in this place is ready; its exception says why it
            never will be.
        ready: set while the present process can do its work.
        settled: set when a frontend has done what it was asked last.
        failure: why the present process could not get ready, in its own words.
        calibrates: an instance that is to measure decoding as well.
        cost: what an instance said its batches cost.
        decode_s: seconds to decode an image, where it was measured.
        variant: file of the variant that an instance serves.
        pulse: signs of life of the present process.
        pulse_fd: their descriptor; -1 for none.
        spawned_ns: when the present process was started (CLOCK_MONOTONIC).
        asked: number of the last thing a frontend was asked.
        last_error: what a frontend could not do of the last thing it was asked; empty: all done.
        generation: how many processes held this place before the present one.
        stopping: told to stop, so that its end is nothing to worry about.
    """

    kind: Literal["frontend", "instance"]
    number: int
    process: asyncio.subprocess.Process | None = None
    control: Control | None = None
    started: asyncio.Future[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    failure: str = ""
    calibrates: bool = False
    cost: dict[str, Any] = field(default_factory=dict)
    decode_s: float = 0.0
    variant: str = ""
    pulse: Pulse | None = None
    pulse_fd: int = -1
    spawned_ns: int = 0
    asked: int = 0
    last_error: str = ""
    generation: int = 0
    failures_in_a_row: int = 0
    stopping: bool = False

    @property
    def name(self) -> str:
        """As in the log."""
        return f"{self.kind} {self.number}"

    @property
    def running(self) -> bool:
        """Whether there is a process that has not ended."""
        return self.process is not None and self.process.returncode is None

    @property
    def starting(self) -> bool:
        """Whether no process in this place has got ready yet."""
        return self.started is not None and not self.started.done()

    def begin(self) -> asyncio.Future[None]:
        """Forget what was here before; gives ``started``."""
        self.started = asyncio.get_running_loop().create_future()
        # Of several that fail only the first is told; asyncio must not complain of the others.
        self.started.add_done_callback(lambda start: start.cancelled() or start.exception())
        self.generation = self.failures_in_a_row = 0
        self.stopping = False
        return self.started

    def tell(self, message: Message) -> None:
        """Send, if there is somebody to hear it; whoever is gone is noticed by who waits for it."""
        if self.control is not None:
            with contextlib.suppress(OSError):
                self.control.send(message)

    async def ended(self) -> None:
        """Wait for the present process to end."""
        if self.process is not None:
            await self.process.wait()

    def kill(self) -> None:
        """End the present process at once."""
        if self.process is not None:
            self.process.kill()

    def backoff_s(self, lived_s: float, longest_s: float) -> float:
        """Count an unwanted end, and say how long to wait before the next start."""
        if lived_s > STEADY_S:
            self.failures_in_a_row = 0
            return BACKOFF_S[0]
        self.failures_in_a_row += 1
        return min(BACKOFF_S[min(self.failures_in_a_row, len(BACKOFF_S)) - 1], longest_s)
