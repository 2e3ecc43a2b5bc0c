"""Clients that leave, and a server that does."""

from __future__ import annotations

import logging
import time

from tests.protocol.server import GET, WAIT_S, answered, everything, head_and_error, post, served


def test_a_client_that_leaves_is_not_computed_for(caplog):
    """Its request is cancelled, counted once as 499, and leaves no line in the log."""
    with served() as server, caplog.at_level(logging.WARNING):
        caplog.clear()
        with server.connect() as leaving:
            leaving.sendall(post("/slow", b"x" * 300_000, x_request_id="gone"))
            assert server.toy.began.get(timeout=WAIT_S) == "gone"

        assert server.toy.ended.get(timeout=WAIT_S) == "gone cancelled"
        assert server.observer.codes.get(timeout=WAIT_S) == ("v2", "499")
        with server.connect() as staying:
            staying.sendall(GET)
            assert answered(staying)[0] == 200
        assert caplog.messages == []
    assert server.observer.codes.empty()


def test_a_client_that_leaves_before_its_body_is_complete_is_counted(server):
    """Once, as 499; its route has not been called."""
    with server.connect() as leaving:
        leaving.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert leaving.recv(65536).startswith(b"HTTP/1.1 100 ")
        leaving.sendall(b"1234")

    counted = []
    while ("v2", "499") not in counted:
        counted.append(server.observer.codes.get(timeout=WAIT_S))


def test_a_client_that_leaves_takes_all_its_requests_with_it():
    """The one that is computed is cancelled; those behind it never start."""
    with served() as server:
        with server.connect() as leaving:
            requests = (post("/slow", b"x", x_request_id=name) for name in ("one", "two", "three"))
            leaving.sendall(b"".join(requests))
            assert server.toy.began.get(timeout=WAIT_S) == "one"

        assert server.toy.ended.get(timeout=WAIT_S) == "one cancelled"
        assert server.observer.codes.get(timeout=WAIT_S) == ("v2", "499")
        with server.connect() as staying:
            staying.sendall(post("/slow", x_request_id="four"))
            assert server.toy.began.get(timeout=WAIT_S) == "four"


def test_nothing_is_kept_of_clients_that_left(server):
    """Those with a connection for each request, and one that leaves while its next is computed."""
    for _ in range(20):
        with server.connect() as short:
            short.sendall(post("/echo", b"x", connection="close"))
            assert everything(short).startswith(b"HTTP/1.1 200 ")
    with server.connect() as leaving:
        leaving.sendall(post("/echo", b"x"))
        assert answered(leaving)[0] == 200
        leaving.sendall(post("/slow", x_request_id="next"))
        assert server.toy.began.get(timeout=WAIT_S) == "next"
        assert len(server.readers) > 0
    assert server.toy.ended.get(timeout=WAIT_S) == "next cancelled"

    until = time.monotonic() + WAIT_S
    while len(server.readers) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(server.readers) == 0


def test_a_stop_that_cannot_wait_tells_the_client():
    """503 with Retry-After: another pod will take the request."""
    with served(stop_within_s=0) as server, server.connect() as waiting:
        waiting.sendall(post("/slow"))
        server.toy.began.get(timeout=WAIT_S)
        server.server.should_exit = True
        head, error = head_and_error(everything(waiting))

    assert head.startswith("HTTP/1.1 503")
    assert "\r\nretry-after: 1" in head
    assert error == "the pod is stopping; try again"
