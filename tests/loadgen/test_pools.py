"""Connections to real servers: whatever a server does, every exchange ends once."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import grpc
import pytest
import uvloop

from examples.server import free_port
from loadgen.endpoint import parse
from loadgen.exchange import Answer, Exchange, Pool
from loadgen.form import Form
from loadgen.grpc_pool import GrpcPool
from loadgen.http_pool import HttpPool
from loadgen.images import Image
from loadgen.requests import Request, render
from tests.loadgen.server import MODEL, Asked, Reply, grpc_server, http_server

PATIENCE_S = 30
T = TypeVar("T")


def request_of(content: bytes = b"an image", protocol: str = "v2") -> Request:
    """One request."""
    return render([Image("it", content)], Form(protocol, MODEL))[0]


async def send(pool: Pool, *requests: Request, intended_ns: int | None = None) -> list[Answer]:
    """All at once; their answers in order. Without ``intended_ns`` they were to leave now."""
    if intended_ns is None:
        intended_ns = time.monotonic_ns()
    ended = [asyncio.get_running_loop().create_future() for _ in requests]
    for request, end in zip(requests, ended, strict=True):
        pool.send(
            Exchange(
                pool,
                request,
                intended_ns,
                lambda _exchange, answer, end=end: end.set_result(answer),
            )
        )
    return await asyncio.gather(*ended)


def ask(
    where: str,
    *requests: Request,
    one_by_one: bool = False,
    timeout_s: float = PATIENCE_S,
    most: int = 0,
    intended_ns: int | None = None,
) -> list[Answer]:
    """Through a pool of its own."""

    async def asking() -> list[Answer]:
        if where.startswith("grpc"):
            pool: Pool = GrpcPool(parse(where, "grpc").endpoint, timeout_s, most, (("X-Key", "v"),))
        else:
            pool = HttpPool(parse(where, "v2").endpoint, timeout_s, most)
        try:
            if one_by_one:
                return [(await send(pool, request))[0] for request in requests]
            return await send(pool, *requests, intended_ns=intended_ns)
        finally:
            await pool.close()

    return on_the_loop(asking())


def on_the_loop(what: Coroutine[Any, Any, T]) -> T:
    """The kind of event loop that the client uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(what)


@pytest.mark.parametrize(
    "reply",
    [Reply(), Reply(chunked=True), Reply(unframed=True), Reply(close=True)],
    ids=["length", "chunked", "until it closes", "connection: close"],
)
def test_answers_are_read_however_they_are_framed(reply):
    """And the next request is answered as well, on a new connection where that is needed."""
    with http_server(lambda _: reply) as server:
        answers = ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 3, one_by_one=True)

    assert [(answer.status, answer.good, answer.body) for answer in answers] == [
        ("200", True, Reply().body)
    ] * 3
    kept = not (reply.close or reply.unframed)
    assert server.connections == (1 if kept else 3)


def test_small_and_large_bodies_arrive_whole():
    """They take different ways through the client."""
    bodies = [b"small", b"L" * 3_000_000]
    with http_server() as server:
        ask(f"http://127.0.0.1:{server.port}", *map(request_of, bodies), one_by_one=True)

    assert [
        asked.body[-len(body) :] for asked, body in zip(server.asked, bodies, strict=True)
    ] == bodies
    assert server.connections == 1


def test_an_interim_answer_is_none():
    """100 Continue comes before the answer."""
    body = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    with http_server(lambda _: Reply(raw=body)) as server:
        (answer,) = ask(f"http://127.0.0.1:{server.port}", request_of())

    assert (answer.status, answer.body) == ("200", b"{}")


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_an_error_is_an_answer_but_no_good_one(status):
    """The connection is kept."""
    with http_server(lambda _: Reply(status)) as server:
        answers = ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 2, one_by_one=True)

    assert {(answer.status, answer.good, answer.lost) for answer in answers} == {
        (str(status), False, False)
    }
    assert server.connections == 1


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(cut=True), "closed"),
        (Reply(cut=True, chunked=True), "closed"),
        (Reply(raw=b"SSH-2.0-OpenSSH_9\r\n"), "malformed"),
        (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le"), "closed"),
    ],
)
def test_a_connection_that_breaks_loses_its_request_and_no_other(reply, outcome):
    """The next one gets a new connection."""
    with http_server(lambda asked: reply if asked.count == 0 else Reply()) as server:
        answers = ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 2, one_by_one=True)

    assert [(answer.status, answer.lost) for answer in answers] == [(outcome, True), ("200", False)]


def test_each_request_in_flight_has_a_connection_of_its_own():
    """So that none waits for another's answer."""
    with http_server(lambda _: Reply(delay_s=0.05)) as server:
        ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 5)

    assert len({asked.connection for asked in server.asked}) == 5


def test_requests_wait_where_connections_are_limited():
    """All are answered in the end."""
    with http_server() as server:
        answers = ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 20, most=2)

    assert [answer.status for answer in answers] == ["200"] * 20
    assert server.connections == 2


def test_waiting_requests_outlive_a_connection_that_breaks():
    """They get the one that replaces it."""
    with http_server(lambda asked: Reply(cut=asked.count == 0)) as server:
        answers = ask(f"http://127.0.0.1:{server.port}", *[request_of()] * 4, most=1)

    assert [answer.status for answer in answers] == ["closed", "200", "200", "200"]


def test_a_request_that_takes_too_long_has_failed():
    """Its connection is given up, since its answer may still come."""
    with http_server(lambda asked: Reply(delay_s=60 if asked.count == 0 else 0)) as server:
        answers = ask(
            f"http://127.0.0.1:{server.port}", *[request_of()] * 2, one_by_one=True, timeout_s=2
        )

    assert [answer.status for answer in answers] == ["timeout", "200"]
    assert server.connections == 2


def test_a_request_has_one_timeout_for_waiting_and_for_its_answer():
    """Two requests, one connection, and a server that answers neither: the second is never sent."""
    with http_server(lambda _: Reply(delay_s=60)) as server:
        where = f"http://127.0.0.1:{server.port}"
        answers = ask(where, *[request_of()] * 2, timeout_s=2, most=1)

    assert [answer.status for answer in answers] == ["timeout", "timeout"]
    assert len(server.asked) == 1


def test_a_waiting_request_counts_from_when_it_was_asked_for():
    """Not from when it was to leave: MLPerf's load generator keeps that to itself (0 here)."""
    with http_server(lambda _: Reply(delay_s=0.3)) as server:
        where = f"http://127.0.0.1:{server.port}"
        answers = ask(where, *[request_of()] * 3, timeout_s=20, most=1, intended_ns=0)

    assert [answer.status for answer in answers] == ["200"] * 3


def test_those_who_wait_behind_a_connection_that_fails_fail_at_once():
    """Each tries for itself; none waits for its timeout."""
    answers = ask(f"http://127.0.0.1:{free_port()}", *[request_of()] * 50, most=1, timeout_s=3600)

    assert {answer.status for answer in answers} == {"refused"}


def test_a_name_that_is_none_is_unreachable():
    """A label of a host name has 63 letters at most."""
    (answer,) = ask(f"http://{'a' * 64}:80", request_of())

    assert answer.status.startswith("unreachable")


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_closing_ends_also_what_had_no_time_to_begin(scheme):
    """Its task is cancelled before its first step."""

    async def close_at_once(port: int) -> list[str]:
        where = parse(f"{scheme}://127.0.0.1:{port}", "grpc" if scheme == "grpc" else "v2").endpoint
        pool: Pool = (
            GrpcPool(where, PATIENCE_S) if scheme == "grpc" else HttpPool(where, PATIENCE_S)
        )
        outcomes: list[str] = []
        pool.send(Exchange(pool, request_of(), 0, lambda _, a: outcomes.append(a.status)))
        await pool.close()
        return outcomes

    assert on_the_loop(close_at_once(free_port())) == ["closed"]


def test_nobody_there_is_refused():
    """By the operating system."""
    (answer,) = ask(f"http://127.0.0.1:{free_port()}", request_of())

    assert (answer.status, answer.lost) == ("refused", True)


def test_a_server_that_does_not_accept_times_out():
    """Its backlog takes the connection, and nothing more happens."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (answer,) = ask(f"http://127.0.0.1:{silent.getsockname()[1]}", request_of(), timeout_s=0.1)

    assert answer.status == "timeout"


def test_closing_ends_what_is_in_flight():
    """As closed, and once, whether it was sent or is still waiting for a connection."""
    arrived: list[Callable[[], object]] = []

    def decide(_asked: Asked) -> Reply:
        arrived[0]()
        return Reply(delay_s=60)

    async def close_early(port: int) -> list[str]:
        sent = asyncio.Event()
        arrived.append(partial(asyncio.get_running_loop().call_soon_threadsafe, sent.set))
        pool = HttpPool(parse(f"http://127.0.0.1:{port}", "v2").endpoint, PATIENCE_S, 1)
        outcomes: list[str] = []
        for _ in range(3):
            pool.send(Exchange(pool, request_of(), 0, lambda _, a: outcomes.append(a.status)))
        await sent.wait()
        await pool.close()
        return outcomes

    with http_server(decide) as server:
        outcomes = on_the_loop(close_early(server.port))

    assert outcomes == ["closed"] * 3


def test_ending_what_is_in_flight_leaves_the_pool_of_use():
    """The next measurement goes by it; a server that still works on the old is not waited for."""

    async def end_early(port: int, arrived: asyncio.Event) -> tuple[list[str], list[Answer]]:
        pool = HttpPool(parse(f"http://127.0.0.1:{port}", "v2").endpoint, PATIENCE_S, 1)
        outcomes: list[str] = []
        for _ in range(3):
            pool.send(Exchange(pool, request_of(), 0, lambda _, a: outcomes.append(a.status)))
        await arrived.wait()
        await pool.end_exchanges()
        ended = list(outcomes)
        answers = await send(pool, request_of())
        await pool.close()
        return ended, answers

    async def run() -> tuple[list[str], list[Answer]]:
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()

        def decide(asked: Asked) -> Reply:
            loop.call_soon_threadsafe(arrived.set)
            return Reply(delay_s=0 if asked.count else 60)

        with http_server(decide) as server:
            return await end_early(server.port, arrived)

    outcomes, answers = on_the_loop(run())

    assert outcomes == ["closed"] * 3
    assert [answer.status for answer in answers] == ["200"]


def test_ended_grpc_calls_leave_their_channels_of_use():
    """They end as closed, even before their first step."""

    async def end_early(port: int) -> tuple[list[str], list[Answer]]:
        request = request_of(protocol="grpc")
        pool = GrpcPool(parse(f"grpc://127.0.0.1:{port}", "grpc").endpoint, PATIENCE_S)
        outcomes: list[str] = []
        pool.send(Exchange(pool, request, 0, lambda _, a: outcomes.append(a.status)))
        await pool.end_exchanges()
        answers = await send(pool, request)
        await pool.close()
        return outcomes, answers

    with grpc_server() as server:
        outcomes, answers = on_the_loop(end_early(server.port))

    assert outcomes == ["closed"]
    assert [answer.status for answer in answers] == ["OK"]


def test_grpc_calls_carry_bytes_both_ways():
    """And headers, as metadata."""
    with grpc_server() as server:
        (answer,) = ask(f"grpc://127.0.0.1:{server.port}", request_of(protocol="grpc"))

    assert (answer.status, answer.good) == ("OK", True)
    assert (3).to_bytes(8, "little") in answer.body
    assert server.requests[0].model_name == MODEL
    assert server.metadata[0]["x-key"] == "v"


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND])
def test_grpc_errors_are_named_by_their_code(code):
    """A server that answers so is there."""
    with grpc_server(code) as server:
        (answer,) = ask(f"grpc://127.0.0.1:{server.port}", request_of(protocol="grpc"))

    assert (answer.status, answer.good, answer.lost) == (code.name, False, False)


def test_grpc_to_nobody_is_unavailable():
    """And counts as no answer."""
    (answer,) = ask(f"grpc://127.0.0.1:{free_port()}", request_of(protocol="grpc"))

    assert (answer.status, answer.lost) == ("UNAVAILABLE", True)
