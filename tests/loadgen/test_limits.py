"""What the client refuses to do, and when it gives up."""

from __future__ import annotations

from concurrent import futures

import psutil
import pytest

from examples.server import free_port
from loadgen.client import Client, run
from loadgen.errors import LoadError
from loadgen.plan import Closed, Plan
from tests.loadgen.server import MODEL, Reply, http_server
from tests.loadgen.test_client import IMAGES, plan, wait_for


def test_a_process_that_stands_still_is_given_up_and_not_waited_for(monkeypatch):
    """By its own silence, however long requests may take."""
    monkeypatch.setattr("loadgen.client.PATIENCE_S", 3)
    others = psutil.Process().children()  # of other tests, such as a registry for all of them
    with http_server() as server, Client(plan(server, duration_s=600, timeout_s=600)) as client:
        (worker,) = [each for each in psutil.Process().children() if each not in others]

        def stand_still() -> None:
            wait_for(server, 10)
            worker.suspend()

        with futures.ThreadPoolExecutor() as pool:
            stood = pool.submit(stand_still)
            with pytest.raises(LoadError, match="has been silent for 3 s"):
                client.measure()
            stood.result()


def test_a_closed_loop_that_would_wait_for_connections_is_refused():
    """Its lanes would be timed as if they had not waited."""
    with http_server() as server, Client(plan(server, connections=2)) as client:
        with pytest.raises(LoadError, match="concurrency 3 needs 3 connections"):
            client.measure(Closed(3))
        assert client.measure(Closed(2)).total.requests > 0


def test_more_connections_than_files_are_refused(monkeypatch):
    """Before the operating system does, one by one."""
    monkeypatch.setattr("loadgen.connections.OTHER_FILES", 10**9)
    with http_server() as server, pytest.raises(LoadError, match="raise the limit"):
        run(plan(server, load=Closed(3)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model": "other"}, "has no model other"),
        ({"endpoints": ("http://127.0.0.1:1",)}, "no server answers at http://127.0.0.1:1"),
        ({"endpoints": ("dns+http://nowhere.invalid:80",)}, "has no address"),
        ({"images": ()}, "no images to send"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_starts(changes, reason):
    """In one line."""
    with http_server() as server, pytest.raises(LoadError, match=reason):
        run(plan(server, **changes))


def test_a_server_with_several_models_has_them_named():
    """To choose from."""
    with http_server() as server:
        server.gets["/v2/models"] = Reply(body=b'{"models": ["a", "b"]}')
        with pytest.raises(LoadError, match="choose with --model: a, b"):
            run(plan(server))


def test_nobody_on_a_free_port_over_grpc_is_said_too():
    """As for HTTP."""
    where = (f"grpc://127.0.0.1:{free_port()}",)

    with pytest.raises(LoadError, match="no server answers"):
        run(Plan(where, IMAGES, protocol="grpc", model=MODEL))
