"""What is no HTTP, or too much of it, is refused before it does harm."""

from __future__ import annotations

import contextlib
import logging

import pytest

from predictor.protocol.connection import LARGEST_HEAD_BYTES
from tests.protocol.server import GET, WAIT_S, answered, everything, head_and_error, post

MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01",
    "two lengths": b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST /echo HTTP/1.1\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "folded header": b"GET /health HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a proxy's": b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
    "a proxy's, with a path": b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown transfer coding": b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nx",
    "bad chunk": b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_answered_with_json_and_hung_up_on(server, caplog, name):
    """400 with a request id like any other answer, and not a line in the log."""
    with caplog.at_level(logging.WARNING), server.connect() as bad:
        bad.sendall(MALFORMED[name])
        head, error = head_and_error(everything(bad))

    assert head.startswith("HTTP/1.1 400 Bad Request\r\n")
    assert "\r\nconnection: close" in head
    assert error
    assert caplog.messages == []


def test_a_broken_body_is_counted_as_the_bad_request_it_is(server):
    """What began as a request ends as one: once, with its own id."""
    with server.connect() as bad:
        bad.sendall(
            b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Request-Id: seven\r\n\r\n"
        )
        bad.sendall(b"zz\r\n")
        head, error = head_and_error(everything(bad))

    assert error.startswith("malformed HTTP: ")
    assert "\r\nx-request-id: seven\r\n" in head
    assert server.observer.codes.get(timeout=WAIT_S) == ("v2", "400")


@pytest.mark.parametrize("wish", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
@pytest.mark.parametrize("malformed", [b"nonsense\r\n\r\n", b"CONNECT / HTTP/1.1\r\n\r\n"])
def test_malformed_http_behind_a_request_waits_for_its_answer(server, wish, malformed):
    """The refusal must not be taken for the answer of the request before."""
    with server.connect() as bad:
        bad.sendall(GET[:-2] + wish + b"\r\n" + malformed)
        first = answered(bad)
        head, _ = head_and_error(everything(bad))

    assert first == (200, b'{"live":true}')
    assert head.startswith("HTTP/1.1 400")


def test_a_head_at_the_limit_is_taken(server):
    """URL, names and values count."""
    url = "/health?" + "u" * 30_000
    filler = LARGEST_HEAD_BYTES - len(url) - len("HostxX")
    with server.connect() as connection:
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\nX: {'v' * filler}\r\n\r\n".encode())

        assert answered(connection)[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"u" * (LARGEST_HEAD_BYTES + 1) + b" HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"v" * LARGEST_HEAD_BYTES + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"X: v\r\n" * LARGEST_HEAD_BYTES + b"\r\n",
        b"GET /health HTTP/1.1\r\nX: " + b"endless" * 100_000,
        b"GET /" + b"endless" * 100_000,
    ],
    ids=["URL", "one header", "many headers", "endless header", "endless URL"],
)
def test_a_head_over_the_limit_is_refused(server, head):
    """431 that says the limit; a head without end is not read to it."""
    with server.connect() as large:
        with contextlib.suppress(ConnectionError):
            large.sendall(head)
        refused, error = head_and_error(everything(large))

    assert refused.startswith("HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert str(LARGEST_HEAD_BYTES) in error


def test_a_large_body_in_front_does_not_count_as_the_next_head(server):
    """They may come in the same packet."""
    with server.connect() as connection:
        connection.sendall(post("/echo", b"b" * 200_000) + GET[:-2])
        first = answered(connection)
        connection.sendall(GET[-2:])

        assert (first, answered(connection)[0]) == ((200, b"b" * 200_000), 200)


def test_what_trails_a_body_is_no_header(server):
    """It would come behind every check of the headers."""
    with server.connect() as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nok\r\n0\r\nX-Request-Id: forged\r\n\r\n"
        )

        assert answered(connection) == (200, b"ok")
    while not server.toy.seen.empty():
        seen = server.toy.seen.get()
    assert seen.observation.request_id != "forged"


@pytest.mark.parametrize("path", ["/echo", "/nowhere"], ids=["waiting", "refused"])
@pytest.mark.parametrize("endless", [b"0\r\nX: ", b"1;"], ids=["trailer", "chunk extension"])
def test_what_surrounds_chunks_is_bounded_like_a_head(server, path, endless):
    """It is no body, so no other bound would see it: the client is told, or just hung up on."""
    with server.connect() as connection:
        connection.sendall(
            b"POST %b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" % path.encode() + endless
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):  # 160 MB, were it read
                connection.sendall(b"a" * 16_384)
            pytest.fail("all of it was taken")
