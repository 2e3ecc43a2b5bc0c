"""What headers ask for: leave to send, another protocol, an id; and what OPTIONS tells."""

from __future__ import annotations

import logging
import re

import pytest

from tests.protocol.server import GET, WAIT_S, answered, everything, head_and_error, post


@pytest.mark.parametrize(
    "head",
    [
        b"POST /echo HTTP/1.1\r\nConnection: Upgrade, close\r\n",
        b"POST /echo HTTP/1.0\r\nConnection: upgrade\r\n",
    ],
    ids=["closing", "HTTP/1.0"],
)
def test_a_wish_for_http_2_on_a_closing_connection_is_answered(server, head):
    """At once, with its body."""
    with server.connect() as connection:
        connection.sendall(head + b"Upgrade: h2c\r\nContent-Length: 2\r\n\r\nok")

        assert answered(connection) == (200, b"ok")


def test_a_header_in_several_lines_is_one_list(server):
    """A coding in the first of them counts as much as one in the last."""
    with server.connect() as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nContent-Encoding: br\r\nContent-Encoding: identity\r\n"
            b"Content-Length: 2\r\n\r\nok"
        )

        assert answered(connection)[0] == 415


def test_options_of_the_server_as_a_whole_are_told(server):
    """``OPTIONS *``: every method there is."""
    with server.connect() as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")

        assert answered(connection)[0] == 204


def test_a_client_that_waits_for_leave_gets_it(server):
    """Expect: 100-continue, and the connection is kept."""
    with server.connect() as careful:
        careful.sendall(b"POST /echo HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        leave = careful.recv(65536)
        careful.sendall(b"ok")
        body = answered(careful)
        careful.sendall(GET)

        assert leave == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (body, answered(careful)[0]) == ((200, b"ok"), 200)


def test_a_client_that_did_not_wait_for_leave_keeps_its_connection(server):
    """It sent everything at once, so nobody is in doubt about what comes next."""
    with server.connect() as hurried:
        for _ in range(2):
            hurried.sendall(post("/echo", b"ok", expect="100-continue"))
            assert answered(hurried) == (200, b"ok")


def test_a_client_that_waits_for_leave_and_is_refused_is_hung_up_on(server):
    """Whether it sends its body now is its own choice, so nothing can follow."""
    with server.connect() as careful:
        careful.sendall(
            b"POST /echo HTTP/1.1\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n"
        )
        head, _ = head_and_error(everything(careful))

    assert head.startswith("HTTP/1.1 413")
    assert "\r\nconnection: close" in head


def test_a_wish_for_http_2_is_answered_in_http_1(server, caplog):
    """Java's client asks with its first request, body and all."""
    wish = {"connection": "Upgrade, HTTP2-Settings", "upgrade": "h2c", "http2_settings": "AAMAAA"}
    with caplog.at_level(logging.WARNING), server.connect() as java:
        java.sendall(post("/echo", b"first", **wish) + post("/echo", b"second", **wish))
        two = [answered(java), answered(java)]
        java.sendall(GET)

        assert (two, answered(java)[0]) == ([(200, b"first"), (200, b"second")], 200)
    assert caplog.messages == []


def test_a_clients_well_formed_request_id_comes_back(server):
    """On answers and on errors, and the route knows it."""
    client = server.client()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.request("POST", "/echo", b"", {"X-Request-Id": "mine", "traceparent": trace})
    answer = client.getresponse()
    answer.read()
    client.request("GET", "/nowhere", headers={"X-Request-Id": "mine too"})
    refused = client.getresponse()
    refused.read()
    client.request("GET", "/nowhere", headers={"X-Request-Id": "i" * 129})
    long = client.getresponse()
    client.close()

    assert answer.headers["x-request-id"] == "mine"
    assert re.fullmatch(r"[0-9a-f]{16}", refused.headers["x-request-id"])  # a space is not visible
    assert re.fullmatch(r"[0-9a-f]{16}", long.headers["x-request-id"])
    while (seen := server.toy.seen.get(timeout=WAIT_S)).observation.request_id != "mine":
        pass
    assert seen.observation.traceparent == trace
    assert seen.observation.began_ns > 0


def test_options_without_a_body_has_no_length(server):
    """204 with Allow, as ever."""
    client = server.client()
    client.request("OPTIONS", "/echo")
    answer = client.getresponse()
    client.close()

    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert "content-length" not in answer.headers
