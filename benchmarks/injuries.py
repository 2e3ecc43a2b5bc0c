"""What is done to a pod: processes killed and stopped, clients that leave, dawdle or send half.

And images at which the runtime raises, or has no memory.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import psutil

from benchmarks.census import kind_of, open_descriptors
from benchmarks.errors import BenchmarkError
from benchmarks.pod import scrape
from benchmarks.servers import Running
from benchmarks.tcp import sockets_of
from benchmarks.witness import Connection, Witness

POLL_S = 0.05
REPLACED_S = 60.0  # a process that dies is to be replaced within
PAUSE_S = 0.3  # at most, before the next injury of a kind
LEAVE_S = 0.02  # at most, before a client leaves
SLOW_ASKS, SLOW_BYTES, SLOW_READS, SLOW_PAUSE_S = 20, 512, 20, 0.05
RECEIVE_BUFFER = 4096
METRICS = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
PROCESS_KINDS = ("frontend", "instance")
# How often each is drawn.
WEIGHTS: Mapping[str, int] = {
    "kill frontend": 3,
    "kill instance": 3,
    "stop frontend": 1,
    "stop instance": 1,
    "client leaves": 4,
    "client sends half": 4,
    "client reads slowly": 4,
    "runtime error": 2,
    "out of memory": 2,
}


@dataclass(slots=True)
class Injuries:
    """Done to one pod, seen by one witness.

    Attributes:
        wanted: how many processes of each kind there are to be.
        hang_timeout_s: after which the pod is to notice a stopped process.
        bad: requests with an image at which the runtime fails, by the kind of injury.
        done: how many of each.
        told: what was answered to bad images, by kind and status.
        details: of what must not be, in words.
    """

    running: Running
    witness: Witness
    random: random.Random
    wanted: Mapping[str, int]
    hang_timeout_s: float
    bad: Mapping[str, bytes]
    done: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)

    async def inflict(self, number: int, kinds: list[str], say: Callable[[str], None]) -> None:
        """``number`` of these ``kinds``; one frontend and one instance at a time, clients beside.

        Raises:
            BenchmarkError: a process was not replaced.
        """
        drawn = self.random.choices(kinds, [WEIGHTS[kind] for kind in kinds], k=number)
        lanes: dict[str, list[str]] = {}
        for kind in drawn:
            lane = kind.split()[1] if kind.endswith(PROCESS_KINDS) else "clients"
            lanes.setdefault(lane, []).append(kind)
        try:
            async with asyncio.TaskGroup() as group:
                for turn in lanes.values():
                    group.create_task(self._lane(turn, number, say))
        except* BenchmarkError as errors:
            raise errors.exceptions[0] from None

    async def _lane(self, kinds: list[str], number: int, say: Callable[[str], None]) -> None:
        for kind in kinds:
            await asyncio.sleep(self.random.uniform(0, PAUSE_S))
            await self._acts()[kind]()
            self.done[kind] += 1
            if self.done.total() % 20 == 0:
                say(f"{self.done.total()} of {number}: {dict(self.witness.outcomes)}")

    def _acts(self) -> dict[str, Callable[[], Awaitable[None]]]:
        return {
            "kill frontend": lambda: self._strike("frontend", signal.SIGKILL),
            "kill instance": lambda: self._strike("instance", signal.SIGKILL),
            "stop frontend": lambda: self._strike("frontend", signal.SIGSTOP),
            "stop instance": lambda: self._strike("instance", signal.SIGSTOP),
            "client leaves": self._leave,
            "client sends half": self._send_half,
            "client reads slowly": self._read_slowly,
            "runtime error": lambda: self._send_bad("runtime error"),
            "out of memory": lambda: self._send_bad("out of memory"),
        }

    # Processes

    async def _strike(self, kind: str, number: signal.Signals) -> None:
        victim = self.random.choice(self._those(kind))
        if kind == "frontend":
            victim.suspend()  # so that it accepts nothing between this list and its end
            self.witness.excuse(
                each.remote_port
                for each in sockets_of(victim.pid)
                if each.local_port == self.running.http_port and not each.listens
            )
        victim.send_signal(number)
        if number == signal.SIGSTOP and not await self._gone(victim, self.hang_timeout_s * 3 + 1):
            self.details.append(f"a stopped {kind} was not noticed")
            victim.resume()
        await self._whole(kind)

    def _those(self, kind: str) -> list[psutil.Process]:
        """Processes of a kind, in the order in which they were started."""
        found = []
        for process in self.running.server.family():
            try:
                if kind_of(process) == kind:
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.pid)

    async def _gone(self, victim: psutil.Process, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while victim.is_running() and victim.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _whole(self, kind: str) -> None:
        """Wait until all processes of a kind do their work."""
        deadline = time.monotonic() + REPLACED_S
        works = self._listening if kind == "frontend" else self._up
        while len(self._those(kind)) < self.wanted[kind] or not await works():
            if time.monotonic() > deadline:
                raise BenchmarkError(f"a killed {kind} was not replaced in {REPLACED_S:.0f} s")
            await asyncio.sleep(POLL_S)

    async def _listening(self) -> bool:
        """Whether every frontend has its gRPC port, which it opens last but one."""
        port = self.running.grpc_port
        try:
            return all(
                any(each.listens and each.local_port == port for each in sockets_of(process.pid))
                for process in self._those("frontend")
            )
        except FileNotFoundError:
            return False

    async def _up(self) -> bool:
        try:
            found = await asyncio.to_thread(scrape, self.running.http_port)
            # A frontend that was stopped still counts instances that have died meanwhile as up. One
            # that works has a socket for the supervisor and one for each frontend that is alive.
            sockets = [open_descriptors(each.pid)["socket"] for each in self._those("instance")]
        except OSError:
            return False
        return found.total("millrace_instance_up") >= self.wanted["instance"] and min(sockets) > 1

    # Clients

    async def _leave(self) -> None:
        """The whole request, and gone before the answer or just after."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.running.http_port)
        writer.write(self.random.choice(self.witness.questions).request)
        await asyncio.sleep(self.random.uniform(0, LEAVE_S))
        writer.transport.abort()

    async def _send_half(self) -> None:
        """A part of a request, and no more."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.running.http_port)
        request = self.random.choice(self.witness.questions).request
        writer.write(request[: self.random.randrange(1, len(request))])
        await asyncio.sleep(self.random.uniform(0, LEAVE_S))
        writer.close()

    async def _send_bad(self, kind: str) -> None:
        """An image at which the runtime fails; what became of it is noted."""
        try:
            connection = await Connection.open(self.running.http_port)
        except OSError:
            return
        try:
            told = str((await connection.ask(self.bad[kind])).status)
        except (OSError, EOFError, TimeoutError):
            told = "lost"  # its frontend may have been killed; the witness tells whether it was
        finally:
            await connection.close()
        self.told[f"{kind}: {told}"] += 1

    async def _read_slowly(self) -> None:
        """More answers than buffers take, read a few bytes at a time, and never to the end."""
        loop = asyncio.get_running_loop()
        with socket.socket() as slow:
            slow.setblocking(False)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            try:
                await loop.sock_connect(slow, ("127.0.0.1", self.running.http_port))
                await loop.sock_sendall(slow, SLOW_ASKS * METRICS)
                for _ in range(SLOW_READS):
                    if not await loop.sock_recv(slow, SLOW_BYTES):
                        return
                    await asyncio.sleep(SLOW_PAUSE_S)
            except ConnectionError:
                return  # its frontend was killed meanwhile
