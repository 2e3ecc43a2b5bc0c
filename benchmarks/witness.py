"""Clients that keep asking while things break, and remember what became of every request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.errors import BenchmarkError

ANSWER_TIMEOUT_S = 60.0
RETRY_S = 0.05  # after a connection that was not made
PROBE_S = 0.05
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
# What can become of a request besides an HTTP status.
EXCUSED, BROKEN, WRONG, REFUSED = "its frontend was killed", "lost", "wrong answer", "no connection"


@dataclass(frozen=True, slots=True)
class Question:
    """A whole HTTP request and the answer's body that is right for it."""

    request: bytes
    right: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int
    body: bytes
    closes: bool  # the connection after it


class Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.opened = time.monotonic()
        self.port: int = writer.get_extra_info("sockname")[1]  # ours

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to ``port`` of this machine; raises OSError."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, request: bytes) -> Reply:
        """Send it and read the answer.

        Raises:
            OSError, EOFError, TimeoutError: there is none.
        """
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            self._writer.write(request)
            await self._writer.drain()
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower()
            first, *lines = head.split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines if ": " in line)
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        closes = headers.get("connection") == "close"
        return Reply(int(first.split()[1]), body, closes)

    async def close(self) -> None:
        """At once."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


@dataclass(slots=True)
class Witness:
    """Asks from ``clients`` connections until told to stop, and probes whether readiness is true.

    Attributes:
        port: of the pod.
        questions: asked in turn.
        outcomes: requests by HTTP status, or by one of this module's words.
        details: of what must not be, in words.
        probes: how often readiness was asked, and the next request on that connection sent.
        lies: how often the two did not go together, by what was said and done.
    """

    port: int
    questions: Sequence[Question]
    outcomes: Counter[str] = field(default_factory=Counter)
    details: list[str] = field(default_factory=list)
    probes: int = 0
    lies: Counter[str] = field(default_factory=Counter)
    _killed: dict[int, float] = field(default_factory=dict)  # by port of ours: when
    _stopping: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def start(self, clients: int) -> None:
        """Ask from now on."""
        self._stopping = False
        self._tasks = [asyncio.create_task(self._client(number)) for number in range(clients)]
        self._tasks.append(asyncio.create_task(self._probe()))

    async def stop(self) -> None:
        """Let every request have its answer."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    def excuse(self, ports: Iterable[int]) -> None:
        """The frontend at the other end of these is about to be killed."""
        self._killed.update(dict.fromkeys(ports, time.monotonic()))

    async def _client(self, number: int) -> None:
        while not self._stopping:
            async with self._connection() as connection:
                while connection is not None and not self._stopping:
                    question = self.questions[number % len(self.questions)]
                    number += 1
                    reply = await self._ask(connection, question)
                    if reply is None or reply.closes:
                        break

    async def _probe(self) -> None:
        while not self._stopping:
            async with self._connection() as connection:
                if connection is not None:
                    await self._probe_once(connection)
            await asyncio.sleep(PROBE_S)

    async def _probe_once(self, connection: Connection) -> None:
        """Readiness, and the next request on the same connection: so the same frontend's."""
        ready = await self._ask(connection, Question(READY, b""))
        if ready is None or ready.closes:
            return
        reply = await self._ask(connection, self.questions[0])
        if reply is None:
            return
        self.probes += 1
        if (ready.status == 200) != (reply.status == 200):
            self.lies[f"ready {ready.status}, answer {reply.status}"] += 1

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection | None]:
        try:
            connection = await Connection.open(self.port)
        except OSError:
            self.outcomes[REFUSED] += 1
            await asyncio.sleep(RETRY_S)
            yield None
            return
        try:
            yield connection
        finally:
            await connection.close()

    async def _ask(self, connection: Connection, question: Question) -> Reply | None:
        """The answer, or None where there was none; counted either way unless it is readiness."""
        counts = question.request is not READY
        try:
            reply = await connection.ask(question.request)
        except (OSError, EOFError, TimeoutError) as error:
            if self._killed.get(connection.port, 0.0) > connection.opened:
                self.outcomes[EXCUSED] += 1
            else:
                self.outcomes[BROKEN] += 1
                self.details.append(f"{time.strftime('%H:%M:%S')} lost: {error!r}")
            return None
        if counts:
            self.outcomes[self._judge(reply, question)] += 1
        return reply

    def _judge(self, reply: Reply, question: Question) -> str:
        if reply.status == 200 and reply.body != question.right:
            self.details.append(f"wrong: {reply.body[-200:]!r}")
            return WRONG
        return str(reply.status)


async def learn(port: int, requests: Sequence[bytes]) -> list[Question]:
    """Ask each once, of a pod that nothing has happened to yet.

    Raises:
        BenchmarkError: an answer is not 200.
    """
    connection = await Connection.open(port)
    questions = []
    for request in requests:
        reply = await connection.ask(request)
        if reply.status != 200:
            raise BenchmarkError(f"HTTP {reply.status}: {reply.body[:300]!r}")
        questions.append(Question(request, reply.body))
    await connection.close()
    return questions
