"""The servers under test: how each is started, and how it is proven right before it is measured."""

from __future__ import annotations

import http.client
import json
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from benchmarks import payloads
from benchmarks.errors import BenchmarkError
from benchmarks.models import Model, Photo
from benchmarks.payloads import Payload, Prepared
from examples.server import MILLRACE, Server, free_port

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 45.0
ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    server: Server
    http_port: int
    grpc_port: int


@contextmanager
def millrace(model: Model, store: Path, log: Path, *settings: str) -> Iterator[Running]:
    """``millrace serve`` with the settings of ``model``, and these besides."""
    command: list[str | Path] = [MILLRACE, "serve", model.name, "--store", store]
    command += ["--frontends", str(model.frontends), "--instances", str(model.instances)]
    ports = free_port(), free_port()
    command += ["--http-port", str(ports[0]), "--grpc-port", str(ports[1]), *settings]
    with _ready(command, f"http://127.0.0.1:{ports[0]}/v2/health/ready", log) as server:
        yield Running(server, *ports)


@dataclass(frozen=True, slots=True)
class StockOptions:
    """Where stock KServe computes; which is fastest depends on the network, so it is measured."""

    inline: bool  # on the event loop, or else in one thread per core
    session_threads: int
    tuned: bool = False  # with uvloop and without a log line per request
    idle: bool = False  # neither decode nor inference
    network: Path | None = None  # the user's own network, or else the package's serving graph

    def __str__(self) -> str:
        """As a reader of the results sees it."""
        where = "on the event loop" if self.inline else "in a thread per core"
        return f"{where}, {self.session_threads} thread(s) per inference"


STOCK_CHOICES = tuple(
    StockOptions(inline, threads) for inline in (False, True) for threads in (1, 2)
)


@contextmanager
def stock_kserve(package: Path, name: str, options: StockOptions, log: Path) -> Iterator[Running]:
    """Stock KServe with the custom predictor of ``benchmarks.stock_kserve``."""
    port = free_port()
    command: list[str | Path] = [sys.executable, "-m", "benchmarks.stock_kserve"]
    command += ["--package", package, "--http_port", str(port)]
    command += ["--session_threads", str(options.session_threads)]
    if options.inline:
        command.append("--inline")
    if options.tuned:
        command.append("--tuned")
    if options.idle:
        command.append("--idle")
    if options.network:
        command += ["--network", options.network]
    with _ready(command, f"http://127.0.0.1:{port}/v1/models/{name}", log) as server:
        yield Running(server, port, 0)


@contextmanager
def _ready(command: Sequence[str | Path], url: str, log: Path) -> Iterator[Server]:
    server = Server(command, log)
    try:
        server.wait_ready(url, READY_TIMEOUT_S)
        yield server
    except BenchmarkError as error:
        if server.exit_code is None:
            raise
        raise BenchmarkError(
            f"{error}\nthe server died with exit code {server.exit_code}\n{server.log_tail()}"
        ) from error
    finally:
        stop = server.stop(STOP_TIMEOUT_S)
    if not stop.clean:
        raise BenchmarkError(f"the server did not live and stop as it should: {stop}; see {log}")


@dataclass(frozen=True, slots=True)
class Route:
    """One way to ask a server: what is sent and how the answer is read."""

    title: str
    payload: Payload
    top_index: Callable[[bytes], int]  # from the body of an answer


def _v1_top(body: bytes) -> int:
    return int(json.loads(body)["predictions"][0]["index"])


def _v2_top(body: bytes) -> int:
    outputs: list[dict[str, Any]] = json.loads(body)["outputs"]
    return int(next(output["data"][0] for output in outputs if output["name"] == "indices"))


def _grpc_top(body: bytes) -> int:
    response = payloads.grpc_messages().ModelInferResponse.FromString(body)
    place = [output.name for output in response.outputs].index("indices")
    return int(np.frombuffer(response.raw_output_contents[place], "<i8")[0])


MILLRACE_V2 = Route("Millrace, v2 binary", payloads.v2_binary, _v2_top)
MILLRACE_GRPC = Route("Millrace, gRPC", payloads.grpc_frame, _grpc_top)
STOCK_BASE64 = Route("stock KServe, v1 base64", payloads.v1_base64, _v1_top)
STOCK_RAW = Route("stock KServe, v1 image body", payloads.v1_raw, _v1_top)
MILLRACE_ROUTES = (MILLRACE_V2, MILLRACE_GRPC)
STOCK_ROUTES = (STOCK_BASE64, STOCK_RAW)
PLAIN_ROUTES = (Route("plain KServe, v1 base64", payloads.v1_base64, _v1_top),)
TUNED_ROUTES = (Route("tuned KServe, v1 image body", payloads.v1_raw, _v1_top),)


def check_answers(
    running: Running, route: Route, requests: Sequence[Prepared], photos: Sequence[Photo]
) -> list[int]:
    """Send each request once; return the length of each answer in bytes.

    Raises:
        BenchmarkError: for the first answer that is not OK or whose best class is wrong.
    """
    ask = _ask_grpc if route is MILLRACE_GRPC else _ask_http
    lengths = []
    for request, photo in zip(requests, photos, strict=True):
        body = ask(running, request.content)
        index = route.top_index(body)
        if index not in photo.accepted:
            raise BenchmarkError(
                f"{route.title}: {photo.file.name} came out as class {index}, "
                f"not one of {sorted(photo.accepted)}"
            )
        lengths.append(len(body))
    return lengths


def _ask_http(running: Running, request: bytes) -> bytes:
    address = "127.0.0.1", running.http_port
    with socket.create_connection(address, ANSWER_TIMEOUT_S) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        body = response.read()
    if response.status != http.client.OK:
        raise BenchmarkError(f"HTTP {response.status}: {body[:300].decode(errors='replace')}")
    return body


def _ask_grpc(running: Running, frame: bytes) -> bytes:
    prefix_length = struct.calcsize(">BI")
    with grpc.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(payloads.GRPC_PATH)
        try:
            return call(frame[prefix_length:], timeout=ANSWER_TIMEOUT_S)
        except grpc.RpcError as error:
            raise BenchmarkError(f"gRPC {error.code()}: {error.details()}") from error
