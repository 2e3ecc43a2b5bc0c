"""Nobody is waited for without end, and nobody is hung up on who waits for us."""

from __future__ import annotations

import json

import pytest

from predictor.protocol.connection import LEAST_DISCARDED_BYTES
from tests.protocol.server import GET, WAIT_S, answered, everything, head_and_error, post, served


def test_who_sends_nothing_is_hung_up_on_without_a_word(hasty):
    """There is no request to answer."""
    with hasty.connect() as silent:
        assert everything(silent) == b""


@pytest.mark.parametrize("before", [b"", GET], ids=["first request", "later request"])
def test_headers_that_do_not_arrive_are_answered_408(hasty, before):
    """On a fresh connection and on one that was kept."""
    with hasty.connect() as slow:
        slow.sendall(before)
        if before:
            assert answered(slow)[0] == 200
        slow.sendall(GET[:-2])
        head, error = head_and_error(everything(slow))

    assert head.startswith("HTTP/1.1 408 Request Timeout\r\n")
    assert "headers did not arrive within 0.3 s (body_timeout_s)" in error


def test_a_body_that_does_not_arrive_is_answered_408(hasty):
    """By the application, and counted."""
    with hasty.connect() as slow:
        slow.sendall(post("/echo", b"12345")[:-1])
        head, error = head_and_error(everything(slow))

    assert head.startswith("HTTP/1.1 408")
    assert "\r\nconnection: close" in head
    assert "body did not arrive within 0.3 s (body_timeout_s)" in error
    assert hasty.observer.codes.get(timeout=WAIT_S) == ("v2", "408")


def test_an_idle_connection_is_closed_after_keep_alive_s(hasty):
    """Nothing is said: the client owes nothing."""
    with hasty.connect() as idle:
        idle.sendall(GET)
        answered(idle)
        idle.sendall(b"\r\n")  # an empty line begins no request

        assert everything(idle) == b""


def test_a_request_that_takes_long_is_not_the_clients_fault(hasty):
    """No bound on sending applies while the client waits for us."""
    with hasty.connect() as patient, hasty.connect() as witness:
        patient.sendall(post("/slow"))
        hasty.toy.began.get(timeout=WAIT_S)
        witness.sendall(GET)
        answered(witness)
        assert everything(witness) == b""  # idle for too long: so time has passed for both
        hasty.let_go()

        assert answered(patient)[0] == 200


def test_a_body_that_is_not_read_yet_is_not_late():
    """It waits behind a request before it, and we have stopped reading."""
    with served(timeout_s=0.3) as server, server.connect() as eager, server.connect() as witness:
        eager.sendall(post("/slow") + post("/echo", bytes(900_000)))
        server.toy.began.get(timeout=WAIT_S)
        witness.sendall(GET[:-2])
        assert everything(witness).startswith(b"HTTP/1.1 408")  # so time has passed for both
        server.let_go()

        assert [answered(eager)[0], answered(eager)] == [200, (200, bytes(900_000))]


def test_an_answer_that_is_not_read_is_not_kept_for_ever():
    """It would fill our memory, at as many connections as a client likes."""
    size = 30_000_000  # more than all buffers on its way
    with (
        served(max_bytes=size, max_buffered_bytes=size, timeout_s=0.3) as server,
        server.connect() as deaf,
    ):
        deaf.sendall(post("/echo", bytes(size)))
        assert server.observer.codes.get(timeout=WAIT_S) == ("v2", "200")
        with server.connect() as witness:
            assert everything(witness) == b""  # so time has passed for both

        assert len(everything(deaf)) < size


def test_a_refused_body_is_not_read_for_ever(server):
    """A client that was told 413 and goes on is hung up on."""
    with server.connect() as stubborn:
        stubborn.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 100000000000\r\n\r\n")
        status, body = answered(stubborn)
        with pytest.raises(ConnectionError):
            stubborn.sendall(bytes(100 * LEAST_DISCARDED_BYTES))

    assert status == 413
    assert "limit of 1000000 bytes" in json.loads(body)["error"]


def test_a_refused_body_that_stalls_is_not_waited_for(hasty):
    """The answer has been given; what is missing is only in the way."""
    with hasty.connect() as stalled:
        stalled.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n")
        assert answered(stalled)[0] == 413

        assert everything(stalled) == b""
