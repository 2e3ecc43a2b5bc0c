"""Small real servers whose answers, delays and faults a test decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field

import grpc

from loadgen.inference import INFER, READY, message

MODEL = "fake"
ANSWER = {"outputs": [{"name": "indices", "datatype": "INT64", "shape": [1, 2], "data": [3, 1]}]}


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int  # which one it came by, counted from 0
    count: int  # of infer requests before it


@dataclass(frozen=True)
class Reply:
    """What to do about it."""

    status: int = 200
    body: bytes = json.dumps(ANSWER).encode()
    delay_s: float = 0.0
    chunked: bool = False
    unframed: bool = False  # no length: its end is the connection's
    close: bool = False  # say so, and do
    cut: bool = False  # close in the middle of the body
    raw: bytes | None = None  # these bytes in place of everything


Decide = Callable[[Asked], Reply]


@dataclass
class HttpServer:
    """Speaks just enough HTTP/1.1; infer requests are answered as ``decide`` says."""

    decide: Decide
    host: str = "127.0.0.1"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    gets: dict[str, Reply] = field(default_factory=dict)
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        number, self.connections = self.connections, self.connections + 1
        self.open.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer, number):
                pass
        self.open.discard(writer)
        writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split(" ")
        asked = Asked(method, path, headers, body, number, len(self.asked))
        if method == "GET":
            reply = self.gets.get(path, Reply(404, b'{"error": "nothing here"}'))
        else:
            with self.changed:
                self.asked.append(asked)
                self.changed.notify_all()
            reply = self.decide(asked)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ending.wait(), reply.delay_s)
        writer.write(rendered(reply))
        await writer.drain()
        return not (reply.close or reply.cut or reply.unframed or reply.raw)


def rendered(reply: Reply) -> bytes:
    """A reply on the wire."""
    if reply.raw is not None:
        return reply.raw
    lines = [f"HTTP/1.1 {reply.status} Whatever", "Content-Type: application/json"]
    body = reply.body
    if reply.chunked:
        lines.append("Transfer-Encoding: chunked")
        half = len(body) // 2
        pieces = [body[:half], body[half:], b""]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    elif not reply.unframed:
        lines.append(f"Content-Length: {len(body)}")
    if reply.close:
        lines.append("Connection: close")
    if reply.cut:
        body = body[: len(body) // 2]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def http_server(
    decide: Decide = lambda _: Reply(), host: str = "127.0.0.1", port: int = 0
) -> Iterator[HttpServer]:
    """A server in a thread of its own, with one model that is ready."""
    server = HttpServer(decide, host, port)
    server.gets["/v2/models"] = Reply(body=json.dumps({"models": [MODEL]}).encode())
    server.gets[f"/v2/models/{MODEL}/ready"] = Reply(body=b"{}")
    server.gets[f"/v1/models/{MODEL}"] = Reply(body=b"{}")
    started = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        listening = await asyncio.start_server(server.serve, host, server.port)
        server.port = listening.sockets[0].getsockname()[1]
        loops.append(asyncio.get_running_loop())
        started.set()
        await server.ending.wait()
        listening.close()
        while connections := asyncio.all_tasks() - {asyncio.current_task()}:
            for writer in server.open:
                writer.transport.abort()
            await asyncio.wait(connections, timeout=0.1)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(server.ending.set)
        thread.join()


@dataclass
class GrpcServer:
    """What a gRPC server was asked, and where it listens."""

    port: int
    requests: list = field(default_factory=list)
    metadata: list = field(default_factory=list)


@contextlib.contextmanager
def grpc_server(status: grpc.StatusCode = grpc.StatusCode.OK) -> Iterator[GrpcServer]:
    """Answers class 3 to every image of ``ModelInfer``, or fails with ``status``."""
    seen = GrpcServer(0)

    def infer(asked: bytes, context: grpc.ServicerContext) -> bytes:
        request = message("ModelInferRequest").FromString(asked)
        seen.requests.append(request)
        seen.metadata.append(dict(context.invocation_metadata()))
        if status is not grpc.StatusCode.OK:
            context.abort(status, "as the test wants")
        images = request.inputs[0].shape[0]
        answer = message("ModelInferResponse")(model_name=request.model_name)
        answer.outputs.add(name="indices", datatype="INT64", shape=[images, 1])
        answer.raw_output_contents.append((3).to_bytes(8, "little") * images)
        return answer.SerializeToString()

    def ready(asked: bytes, context: grpc.ServicerContext) -> bytes:
        if message("ModelReadyRequest").FromString(asked).name != MODEL:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return message("ModelReadyResponse")(ready=True).SerializeToString()

    class Routes(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
            method = {INFER: infer, READY: ready}.get(details.method)
            return method and grpc.unary_unary_rpc_method_handler(method)

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Routes(),))
    seen.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield seen
    finally:
        server.stop(None).wait()
