"""Both loops in this process, where a test can hold up their event loop."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TypeVar

import pytest
import uvloop

from loadgen.answers import Judge
from loadgen.closed_loop import ClosedLoop
from loadgen.endpoint import parse
from loadgen.errors import LoadError
from loadgen.fleet import Fleet
from loadgen.form import Form
from loadgen.http_pool import HttpPool
from loadgen.images import Image
from loadgen.loop import Loop
from loadgen.open_loop import OpenLoop
from loadgen.requests import render
from loadgen.tally import Counted, Window, together
from tests.loadgen.server import MODEL, HttpServer, Reply, http_server

IMAGES = (Image("first", b"1"), Image("second", b"2"))
FORM = Form("v2", MODEL)
S = 10**9  # ns
T = TypeVar("T")


def on_the_loop(what: Coroutine[None, None, T]) -> T:
    """The kind of event loop that the client uses."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(what)


async def run_loop(
    servers: tuple[HttpServer, ...],
    make: Callable[[Fleet, Window, int], Loop],
    seconds: float,
    *,
    meanwhile: Callable[[Loop], None] = lambda _: None,
) -> Loop:
    """From its first request to its last answer; ``meanwhile`` is called once it runs."""
    sources = [parse(f"http://127.0.0.1:{server.port}", "v2") for server in servers]
    fleet = Fleet(sources, lambda where: HttpPool(where, 60))
    await fleet.start()
    now_ns = time.monotonic_ns()
    loop = make(fleet, Window(now_ns, now_ns + round(seconds * S)), now_ns)
    running = asyncio.create_task(loop.run())
    await asyncio.sleep(0)
    meanwhile(loop)
    await running
    await fleet.close()
    return loop


def every(gap_s: float, **more: int) -> Callable[[Fleet, Window, int], OpenLoop]:
    """An open loop of evenly spaced requests."""

    def make(fleet: Fleet, window: Window, now_ns: int) -> OpenLoop:
        times_ns = (now_ns + round(count * gap_s * S) for count in itertools.count())
        judge = Judge(IMAGES, FORM)
        return OpenLoop(fleet, render(IMAGES, FORM), judge, window, times_ns, **more)

    return make


def total(loop: Loop) -> Counted:
    """Over all endpoints."""
    return together(loop.counted().values())


def test_what_was_due_is_sent_even_if_the_event_loop_is_late_at_the_end():
    """All of it, and it is timed from when it was to leave."""

    def hold_up(_: Loop) -> None:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.4)

    with http_server() as server:
        loop = on_the_loop(run_loop((server,), every(0.001), 0.2, meanwhile=hold_up))

    assert total(loop).requests == len(server.asked) == 200
    assert loop.unsent == 0
    assert total(loop).latency.percentile_us(50) > 100_000


def test_what_was_due_before_it_was_stopped_is_sent_and_nothing_else():
    """Ctrl-C while the event loop is late."""

    def stop_late(loop: Loop) -> None:
        time.sleep(0.1)
        loop.stop()

    with http_server() as server:
        loop = on_the_loop(run_loop((server,), every(0.001), 600, meanwhile=stop_late))

    assert total(loop).requests >= 100
    assert total(loop).requests == len(server.asked)


def test_who_stops_it_once_the_measured_time_is_over_waits_for_no_answer():
    """What is in flight ends, and is no failure of the server; the loop can be followed by more."""

    def stop_late_answers(loop: Loop) -> None:
        asyncio.get_running_loop().call_later(0.3, loop.stop)

    with http_server(lambda asked: Reply(delay_s=0 if asked.count < 10 else 600)) as server:
        loop = on_the_loop(run_loop((server,), every(0.01), 0.2, meanwhile=stop_late_answers))

    assert not loop.cut
    assert loop.in_flight == 0
    assert total(loop).outcomes == {"200": 10}
    assert (loop.unanswered, loop.unsent) == (10, 0)


def test_who_stops_it_while_it_measures_cuts_the_measured_time():
    """What was sent is awaited, and counted."""

    def stop_early(loop: Loop) -> None:
        asyncio.get_running_loop().call_later(0.1, loop.stop)

    with http_server(lambda _: Reply(delay_s=0.2)) as server:
        loop = on_the_loop(run_loop((server,), every(0.01), 600, meanwhile=stop_early))

    assert loop.cut
    assert loop.unanswered == 0
    assert total(loop).requests == len(server.asked) > 0


def test_an_open_loop_counts_what_it_cannot_send():
    """A server that does not answer shall not cost all memory."""
    with http_server(lambda _: Reply(delay_s=1)) as server:
        loop = on_the_loop(run_loop((server,), every(0.01, most_in_flight=7), 0.5))

    assert total(loop).requests + loop.unsent == 50
    assert 7 <= total(loop).requests < 50


@pytest.mark.parametrize("kind", ["open", "closed"])
def test_every_endpoint_sees_every_image(kind):
    """Two endpoints and two images: turns must not advance in step."""

    def closed(fleet: Fleet, window: Window, _: int) -> ClosedLoop:
        judge = Judge(IMAGES, FORM)
        return ClosedLoop(fleet, render(IMAGES, FORM), judge, window, 1, limit=40)

    make, seconds = (every(0.001, limit=40), 60) if kind == "open" else (closed, 60)
    with http_server() as one, http_server() as two:
        on_the_loop(run_loop((one, two), make, seconds))

    for server in (one, two):
        seen = Counter(asked.body[-1:] for asked in server.asked)
        assert abs(seen[b"1"] - seen[b"2"]) <= 1, seen


def test_the_cpu_is_reckoned_over_the_measured_time_and_not_over_the_wait_for_late_answers():
    """A process that was busy for all of it must not look idle because answers took long."""
    with http_server(lambda _: Reply(delay_s=2)) as server:
        began_s = time.monotonic()
        loop = on_the_loop(run_loop((server,), every(0.05), 0.5))
        whole_s = time.monotonic() - began_s

    assert loop.cpu.seconds >= 0.4
    assert whole_s - loop.cpu.seconds > 1.5
    assert loop.cpu.ratio == pytest.approx(loop.cpu.used_s / loop.cpu.seconds)


def test_addresses_that_need_more_files_than_there_are_end_a_closed_loop(monkeypatch):
    """Those that a name has at first, and those that come while it runs."""
    monkeypatch.setattr("loadgen.connections.resource.getrlimit", lambda _: (70, 70))
    names = ["127.0.0.1"]

    async def grow(port: int) -> None:
        source = parse(f"dns+http://pods:{port}", "v2")
        fleet = Fleet([source], lambda where: HttpPool(where, 60), resolve=lambda *_: list(names))
        await fleet.start()
        now_ns = time.monotonic_ns()
        window, judge = Window(now_ns, now_ns + 600 * S), Judge(IMAGES, FORM)
        loop = ClosedLoop(fleet, render(IMAGES, FORM), judge, window, 4)
        running = asyncio.create_task(loop.run())
        await asyncio.sleep(0)
        names[:] = ["127.0.0.1", "127.0.0.2"]
        await fleet.refresh()
        try:
            await running
        finally:
            await fleet.close()

    with (
        http_server() as one,
        http_server(host="127.0.0.2", port=one.port),
    ):
        for _ in range(2):  # the second time it begins with two addresses
            with pytest.raises(LoadError, match=r"8 connections .* 4 to each of 2 endpoint"):
                on_the_loop(grow(one.port))


def test_a_closed_loop_has_a_connection_for_each_of_its_lanes(monkeypatch):
    """However many a pool has room for otherwise."""
    monkeypatch.setattr("loadgen.http_pool.MOST_CONNECTIONS", 2)  # a thousand would take long

    def make(fleet: Fleet, window: Window, _: int) -> ClosedLoop:
        return ClosedLoop(fleet, render(IMAGES, FORM), Judge(IMAGES, FORM), window, 5, limit=5)

    with http_server(lambda _: Reply(delay_s=0.3)) as server:
        on_the_loop(run_loop((server,), make, 60))

    assert len({asked.connection for asked in server.asked}) == 5
