"""Requests that follow one another on one connection, and those sent before their turn."""

from __future__ import annotations

import threading

import pytest

from predictor.protocol.connection import MOST_AHEAD
from tests.protocol.server import GET, WAIT_S, answered, everything, head_and_error, post, served


def test_bodies_ahead_of_their_turn_are_not_read_to_their_end():
    """They wait on the client's side, as far as buffers allow."""
    with served() as server, server.connect() as eager:
        eager.sendall(post("/slow"))
        server.toy.began.get(timeout=WAIT_S)
        eager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            eager.sendall(post("/echo", bytes(30_000_000)))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /echo HTTP/1.1\r\n\r\n", 405),
        (post("/echo", b"x" * 1_000_001), 413),
        (post("/echo", b"x", content_encoding="br"), 415),
        (post("/broken", b"x"), 500),
    ],
)
def test_keep_alive_goes_on_after_an_error(server, caplog, request_, status):
    """The next request is answered on the same connection."""
    with server.connect() as connection:
        connection.sendall(request_)
        first = answered(connection)
        connection.sendall(GET)

        assert (first[0], answered(connection)[0]) == (status, 200)
        assert "our insides" not in first[1].decode()


@pytest.mark.parametrize("status", [200, 404], ids=["taken", "refused"])
def test_requests_are_told_apart_wherever_packets_end(server, status):
    """Two bodies and what follows them, cut in two at every place."""
    path = "/echo" if status == 200 else "/nowhere"
    sent = post(path, b"first body") + post(path, b"second") + GET
    for cut in range(1, len(sent)):
        with server.connect() as connection, server.connect() as other:
            connection.sendall(sent[:cut])
            other.sendall(GET)
            answered(other)  # what came before it has been read
            connection.sendall(sent[cut:])

            first, second, third = (answered(connection) for _ in range(3))
        assert (first[0], second[0], third[0]) == (status, status, 200), cut
        if status == 200:
            assert (first[1], second[1]) == (b"first body", b"second"), cut


def test_requests_sent_ahead_are_answered_in_their_order(server):
    """Pipelining: each waits for the one before."""
    with server.connect() as connection:
        connection.sendall(b"".join(post("/echo", b"%d" % number) for number in range(20)))

        assert [answered(connection) for _ in range(20)] == [
            (200, b"%d" % number) for number in range(20)
        ]


def test_a_client_may_send_ahead_for_ever_what_is_answered_in_time(server):
    """Its bodies wait on its own side, however many they are."""
    bodies = 4 * MOST_AHEAD
    with server.connect() as connection:
        sending = threading.Thread(
            target=connection.sendall, args=(post("/echo", bytes(50_000)) * bodies,)
        )
        sending.start()
        answers = [answered(connection) == (200, bytes(50_000)) for _ in range(bodies)]
        sending.join()

    assert all(answers)


def test_too_many_requests_ahead_are_refused_after_those_before_are_answered():
    """Every one of them takes memory while it waits."""
    with served() as server, server.connect() as eager:
        eager.sendall(post("/slow") + GET * (MOST_AHEAD + 1))
        server.toy.began.get(timeout=WAIT_S)
        server.let_go()
        answers = everything(eager)

    assert answers.count(b"HTTP/1.1 200") == 1 + MOST_AHEAD
    last = answers[answers.rindex(b"HTTP/1.1 ") :]
    assert head_and_error(last)[1] == f"over {MOST_AHEAD} requests were sent before their turn"
