"""Whole measurements: worker processes, real sockets, servers that behave as they are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from dataclasses import replace

import pytest
import uvloop

from loadgen.answers import Judge
from loadgen.client import Client, run
from loadgen.closed_loop import ClosedLoop
from loadgen.endpoint import parse
from loadgen.fleet import Fleet
from loadgen.form import Form
from loadgen.http_pool import HttpPool
from loadgen.images import Image, Right
from loadgen.peak import Trial, find_peak
from loadgen.plan import Closed, Open, Plan
from loadgen.progress import Snapshot
from loadgen.requests import render
from loadgen.slo import parse as objective
from loadgen.tally import Window
from tests.loadgen.server import MODEL, Asked, HttpServer, Reply, grpc_server, http_server

IMAGES = (Image("first", b"1"), Image("second", b"2"))


def plan(*servers: HttpServer, **changes: object) -> Plan:
    """Short, and without warm-up."""
    endpoints = tuple(f"http://{server.host}:{server.port}" for server in servers)
    return replace(Plan(endpoints, IMAGES, duration_s=0.5, warm_up_s=0, timeout_s=10), **changes)


class Stall:
    """Answers at once, but from the 20th request on nothing for a second."""

    def __init__(self) -> None:
        self._until = 0.0

    def __call__(self, asked: Asked) -> Reply:
        """Wait as long as the stall lasts."""
        now = time.monotonic()
        if asked.count == 20:
            self._until = now + 1
        return Reply(delay_s=max(0.0, self._until - now))


def test_a_run_of_so_many_requests_sends_so_many():
    """All images in turn, and every answer counted; the only model is found."""
    with http_server() as server:
        report = run(plan(server, requests=51, load=Closed(4), duration_s=60))

    assert report.total.requests == report.total.service.count == 51
    assert report.total.outcomes == {"200": 51}
    assert len(server.asked) == 51
    assert sum(asked.body.endswith(b"1") for asked in server.asked) in (25, 26)
    assert report.seconds < 30


def test_the_warm_up_is_sent_and_not_counted():
    """Under the same load; so many are measured after it."""
    with http_server(lambda _: Reply(delay_s=0.01)) as server:
        report = run(plan(server, warm_up_s=0.3, requests=10, duration_s=60))

    assert report.total.requests == 10
    assert len(server.asked) > 10


def test_every_failure_is_counted_by_how_it_ended():
    """A status, a connection that breaks, an answer that never comes."""
    replies = itertools.cycle([Reply(), Reply(503), Reply(cut=True), Reply(delay_s=60)])
    with http_server(lambda _: next(replies)) as server:
        report = run(plan(server, requests=16, load=Closed(8), duration_s=60, timeout_s=5))

    assert report.total.outcomes == {"200": 4, "503": 4, "closed": 4, "timeout": 4}
    assert (report.total.failed, report.total.service.count) == (12, 4)


def test_a_slow_pod_keeps_no_other_waiting():
    """Each endpoint has its own requests in flight; the report tells them apart."""
    with http_server(lambda _: Reply(delay_s=0.3)) as slow, http_server() as fast:
        report = run(plan(slow, fast, load=Closed(2), duration_s=1))

    by_port = {name.rsplit(":", 1)[1]: counted for name, counted in report.endpoints.items()}
    slow_seen, fast_seen = by_port[str(slow.port)], by_port[str(fast.port)]
    assert fast_seen.requests > slow_seen.requests > 0
    assert report.total.requests == fast_seen.requests + slow_seen.requests


def test_an_open_loop_sends_at_its_rate_whatever_the_answers_do():
    """Half a second's answers do not slow it down."""
    with http_server(lambda _: Reply(delay_s=0.5)) as server:
        report = run(plan(server, load=Open(100, "constant"), duration_s=1))

    assert report.total.requests == 100
    assert len(server.asked) == 100


def test_an_open_loop_shares_its_rate_among_endpoints_and_processes():
    """In turn, and every request once."""
    with http_server() as one, http_server() as two:
        report = run(plan(one, two, load=Open(100, "constant"), duration_s=1, processes=2))

    assert (len(one.asked), len(two.asked)) == (50, 50)
    assert report.client.processes == 2


def test_a_stall_shows_in_an_open_loops_latencies():
    """Those who would have come meanwhile waited too: latencies count from their own times."""
    with http_server(Stall()) as server:
        report = run(plan(server, load=Open(100, "constant"), duration_s=2))

    assert report.total.latency.percentile_us(99) > 500_000
    assert report.total.latency.percentile_us(80) > 100_000


def test_a_stall_shows_in_a_closed_loops_corrected_latencies():
    """The one request that met it stands for those that were not sent meanwhile."""
    with http_server(Stall()) as server:
        report = run(plan(server, load=Closed(1), duration_s=2))

    assert report.total.latency.count > report.total.service.count
    assert report.total.service.percentile_us(50) < 100_000
    assert report.total.latency.percentile_us(99) > 500_000


def test_several_processes_are_one_report():
    """Their requests, histograms and answers add up."""
    with http_server() as server:
        report = run(plan(server, requests=100, load=Closed(3), duration_s=60, processes=3))

    assert report.client.processes == 3
    assert report.total.requests == report.total.service.count == len(server.asked) == 100


def test_a_light_load_needs_one_process():
    """Which the client finds out by trying."""
    with http_server() as server:
        report = run(plan(server, load=Open(50), processes=0))

    assert report.client.processes == 1
    assert not report.client_limits


def test_a_client_measures_again_over_the_connections_it_has():
    """A sweep does not start anew for each load."""
    with http_server() as server, Client(plan(server, requests=20, duration_s=60)) as client:
        first, second = (client.measure(Closed(2)) for _ in range(2))

    assert first.total.requests == second.total.requests == 20
    assert server.connections == 2 + 2  # two more asked for the model


def test_a_pod_that_goes_away_is_not_hammered():
    """It is tried ten times a second on each lane, and every try is counted."""
    with http_server(lambda _: Reply(close=True)) as server:
        prepared = Client(plan(server, load=Closed(2), duration_s=1))
        prepared.__enter__()
    try:
        report = prepared.measure()
    finally:
        prepared.__exit__()

    assert set(report.total.outcomes) == {"refused"}
    assert 2 <= report.total.requests <= 40


def test_answers_are_checked_against_labels():
    """Right by index; wrong ones are listed with what was said."""
    images = tuple(
        Image(name, b"x", Right(frozenset({index}))) for name, index in (("cat", 3), ("dog", 5))
    )
    with http_server() as server:
        report = run(plan(server, images=images, requests=10, load=Closed(1), duration_s=60))

    assert report.total.accuracy == 0.5
    assert report.total.wrong == {("dog", "3"): 5}


def test_an_unreadable_answer_is_a_failure():
    """Where answers are checked."""
    images = (Image("cat", b"x", Right(frozenset({3}))),)
    with http_server(lambda _: Reply(body=b"<html>")) as server:
        report = run(plan(server, images=images, requests=3, duration_s=60))

    assert report.total.failed == 3
    assert list(report.total.outcomes) == ["unreadable answer (JSONDecodeError)"]


def test_many_images_a_request_are_counted_as_such():
    """Requests and images a second differ by as much."""
    with http_server() as server:
        report = run(plan(server, images_per_request=2, requests=10, duration_s=60))

    assert report.images_per_s == pytest.approx(2 * report.rate)


def test_grpc_is_measured_alike():
    """With metadata, labels and a model that is asked for first."""
    images = (Image("cat", b"x", Right(frozenset({3}))),)
    with grpc_server() as server:
        where = (f"grpc://127.0.0.1:{server.port}",)
        asked = Plan(
            where, images, Closed(4), "grpc", MODEL, requests=30, warm_up_s=0, headers={"K": "v"}
        )
        report = run(asked)

    assert report.total.outcomes == {"OK": 30}
    assert report.total.accuracy == 1.0
    assert server.metadata[0]["k"] == "v"


def test_progress_is_told_once_a_second():
    """What was answered so far only grows."""
    seen: list[Snapshot] = []
    with http_server(lambda _: Reply(delay_s=0.01)) as server:
        run(plan(server, load=Closed(2), duration_s=2.5), seen.append)

    assert len(seen) >= 1
    assert [look.answered for look in seen] == sorted(look.answered for look in seen)
    assert seen[-1].p50_ms >= 10


def test_a_new_pod_behind_a_name_is_fed_at_once():
    """And one that is gone gets nothing more."""
    form = Form("v2", MODEL)
    with http_server(host="127.0.0.1") as old:
        names = ["127.0.0.1"]
        source = parse(f"dns+http://pods:{old.port}", "v2")

        async def follow() -> ClosedLoop:
            fleet = Fleet(
                [source], lambda where: HttpPool(where, 10), resolve=lambda *_: list(names)
            )
            await fleet.start()
            now_ns = time.monotonic_ns()
            window = Window(now_ns, now_ns + 10**11)
            loop = ClosedLoop(fleet, render(IMAGES, form), Judge(IMAGES, form), window, 2)
            running = asyncio.create_task(loop.run())
            await asyncio.to_thread(wait_for, old, 10)
            names[:] = ["127.0.0.2"]
            await fleet.refresh()
            await asyncio.to_thread(wait_for, new, 10)
            old_count = len(old.asked)
            await asyncio.to_thread(wait_for, new, len(new.asked) + 10)
            assert len(old.asked) - old_count <= 2
            loop.stop()
            await running
            await fleet.close()
            return loop

        with (
            http_server(host="127.0.0.2", port=old.port) as new,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            loop = runner.run(follow())

    assert {name: counted.failed for name, counted in loop.counted().items()} == {
        f"http://127.0.0.1:{old.port}": 0,
        f"http://127.0.0.2:{old.port}": 0,
    }


def wait_for(server: HttpServer, count: int) -> None:
    """Until it has been asked so often."""
    with server.changed:
        assert server.changed.wait_for(lambda: len(server.asked) >= count, 30)


def test_the_peak_is_where_a_server_begins_to_refuse():
    """One that takes 50 requests of each measurement of half a second."""
    began = [0]

    def decide(asked: Asked) -> Reply:
        return Reply(200 if asked.count - began[0] < 50 else 503)

    def tried(_: Trial) -> None:
        began[0] = len(server.asked)

    with http_server(decide) as server, Client(plan(server, duration_s=0.5)) as client:
        peak = find_peak(
            client, objective(["p99=1000s"]), first=30, arrival="constant", precision=0.2,
            tried=tried,
        )  # fmt: skip

    assert 100 / 1.2 <= peak.rate <= 101
    assert peak.best is not None
    assert any("requests failed" in miss for trial in peak.trials for miss in trial.misses)


def test_a_report_is_plain_values_for_json():
    """Latencies in milliseconds, outcomes by name, the client's own doings."""
    with http_server() as server:
        report = run(plan(server, requests=5, duration_s=60))

    content = json.loads(json.dumps(report.as_dict()))
    assert content["load"] == {"loop": "closed", "concurrency": 1}
    assert content["outcomes"] == {"200": 5}
    assert set(content["latency_ms"]) == {"mean", "p50", "p90", "p99", "p99.9", "max"}
    assert list(content["endpoints"]) == [f"http://127.0.0.1:{server.port}"]
    assert content["client"]["processes"] == 1
