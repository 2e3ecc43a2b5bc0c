"""Our application on our connections, over real sockets: a server for tests, and words with it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

import uvloop

from predictor.observation import Observation
from predictor.protocol.body import BodyLimits
from predictor.protocol.connections import Connections
from predictor.protocol.cors import Cors
from predictor.protocol.http import Application, Request, Response, Route, Routes, json_response
from predictor.protocol.http_server import HttpServer
from predictor.protocol.readers import Readers

WAIT_S = 60  # for what happens at once; only a failure waits this long
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Watching:
    """An observer that passes on what it is told."""

    def __init__(self) -> None:
        self.codes: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.refusals: list[str] = []

    def finished(self, observation: Observation) -> None:
        """One request is over."""
        self.codes.put((observation.protocol, observation.code))

    def refused(self, reason: str) -> None:
        """One request found no room."""
        self.refusals.append(reason)


@dataclass
class Toy:
    """Routes that show what reaches them, and one that takes as long as it is let."""

    seen: SimpleQueue[Request] = field(default_factory=SimpleQueue)
    began: SimpleQueue[str] = field(default_factory=SimpleQueue)  # ids at /slow
    ended: SimpleQueue[str] = field(default_factory=SimpleQueue)  # "ID answered", "ID cancelled"
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def table(self) -> Routes:
        """Every route."""
        return {
            "/health": {"GET": Route(self.health)},
            "/echo": {"POST": Route(self.echo, "v2"), "GET": Route(self.echo)},
            "/slow": {"POST": Route(self.slow, "v2"), "GET": Route(self.slow)},
            "/broken": {"POST": Route(self.broken, "v1")},
        }

    async def health(self, request: Request) -> Response:
        """Nothing but an answer."""
        return json_response({"live": True})

    async def echo(self, request: Request) -> Response:
        """The body comes back."""
        self.seen.put(request)
        request.observation.answered = 1
        return Response(200, request.body, b"application/octet-stream")

    async def slow(self, request: Request) -> Response:
        """As an inference: takes a while, and has something to drop when it is given up."""
        self.began.put(request.observation.request_id)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ended.put(f"{request.observation.request_id} cancelled")
            raise
        self.ended.put(f"{request.observation.request_id} answered")
        return json_response({"id": request.observation.request_id})

    async def broken(self, request: Request) -> Response:
        """A bug."""
        raise ZeroDivisionError("our insides")


@dataclass
class Served:
    """A server in a thread of its own."""

    port: int
    toy: Toy
    observer: Watching
    loop: asyncio.AbstractEventLoop
    server: HttpServer
    readers: Readers

    def connect(self) -> socket.socket:
        """A bare connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def client(self) -> http.client.HTTPConnection:
        """A client with a connection of its own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def let_go(self) -> None:
        """Let /slow answer."""
        with contextlib.suppress(RuntimeError):  # the server has gone, and /slow with it
            self.loop.call_soon_threadsafe(self.toy.release.set)


@contextlib.contextmanager
def served(
    *,
    max_bytes: int = 1_000_000,
    timeout_s: float = WAIT_S,
    max_buffered_bytes: int = 10_000_000,
    keep_alive_s: int = WAIT_S,
    stop_within_s: int = WAIT_S,
    cors: Cors | None = None,
) -> Iterator[Served]:
    """A frontend's server on uvloop, with these bounds."""
    observer, ready = Watching(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    answer: list[Served] = []

    async def serve() -> None:
        toy, readers = Toy(), Readers()
        limits = BodyLimits(max_bytes, timeout_s, max_buffered_bytes)
        application = Application(toy.table(), limits, observer, lambda: False, cors)
        server = HttpServer(application, Connections(limits, readers), keep_alive_s, stop_within_s)
        port = listener.getsockname()[1]
        answer.append(Served(port, toy, observer, asyncio.get_running_loop(), server, readers))
        ready.set()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    assert ready.wait(WAIT_S)
    try:
        yield answer[0]
    finally:
        answer[0].let_go()
        answer[0].server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def head_and_error(answer: bytes) -> tuple[str, str]:
    """The head and the error's text of one JSON refusal, which is checked to be one."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert "\r\ncontent-type: application/json\r\n" in head
    assert f"\r\ncontent-length: {len(body.encode())}\r\n" in head
    assert re.search(r"\r\nx-request-id: [!-~]{1,128}", head)
    error = json.loads(body)["error"]
    assert "\n" not in error
    return head, error


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection; nothing behind it is touched."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (byte := connection.recv(1))
        assert byte, f"hung up on after {head!r}"
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    body = b""
    while length is not None and len(body) < int(length[1]):
        body += (part := connection.recv(int(length[1]) - len(body)))
        assert part, "hung up on in the middle of a body"
    return int(head.split()[1]), body


def post(path: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole request."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body
