"""Bodies arrive whole and uncopied, and all of them together are bounded."""

from __future__ import annotations

import asyncio
import json

import pytest

from predictor.protocol.connection import Cycle
from tests.protocol.server import WAIT_S, answered, post, served


def test_a_body_goes_through_without_a_copy_of_its_chunks():
    """What the parser hands over while the application waits is what it gets."""
    cycle = Cycle.__new__(Cycle)
    cycle.body, cycle.message_event = bytearray(), asyncio.Event()
    chunk = b"chunk"

    cycle.take(chunk)
    alone = bytes(cycle.body)
    cycle.take(b"more")
    cycle.take(b"and more")

    assert alone is chunk
    assert bytes(cycle.body) == b"chunkmoreand more"


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
def test_a_body_of_many_packets_arrives_whole(server, chunked):
    """Longer than any buffer on its way, so that reading is paused and resumed."""
    parts = [bytes([number]) * 4999 for number in range(200)]
    client = server.client()
    headers = {} if chunked else {"Content-Length": str(200 * 4999)}

    client.request("POST", "/echo", iter(parts), headers, encode_chunked=chunked)

    assert client.getresponse().read() == b"".join(parts)
    client.close()


def test_bodies_together_are_bounded():
    """Over max_buffered_bytes: 503 with Retry-After; small ones are served, and room returns."""
    with served(max_buffered_bytes=100_000) as server:
        client = server.client()
        with server.connect() as first:
            first.sendall(post("/slow", b"x" * 60_000, x_request_id="first"))
            assert server.toy.began.get(timeout=WAIT_S) == "first"

            client.request("POST", "/echo", b"x" * 60_000)
            refused = client.getresponse()
            text = json.loads(refused.read())["error"]
            client.request("POST", "/echo", iter([b"x" * 30_000] * 2))
            chunked = client.getresponse()
            chunked.read()
            client.request("POST", "/echo", b"tiny")
            assert client.getresponse().read() == b"tiny"
            client.request("GET", "/health")
            assert client.getresponse().read() == b'{"live":true}'
        assert server.toy.ended.get(timeout=WAIT_S) == "first cancelled"
        while server.observer.codes.get(timeout=WAIT_S) != ("v2", "499"):
            pass
        client.request("POST", "/echo", b"x" * 99_000)
        assert client.getresponse().read() == b"x" * 99_000
        client.close()

    assert (refused.status, refused.headers["retry-after"], chunked.status) == (503, "1", 503)
    assert "max_buffered_bytes" in text
    assert server.observer.refusals == ["bodies_full"] * 2


def test_room_for_bodies_returns_whatever_became_of_them():
    """Answered, refused half-way, malformed, broken: the last fits as the first did."""
    with served(max_bytes=50_000, max_buffered_bytes=100_000) as server:
        chunk = b"c350\r\n" + b"x" * 50_000 + b"\r\n"
        for request in (
            post("/echo", b"x" * 50_000),
            post("/broken", b"x" * 50_000),
            post("/echo", b"x" * 50_000, content_encoding="gzip"),
            b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 2 + b"0\r\n\r\n",
            b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk + b"nonsense\r\n",
        ) * 3:
            with server.connect() as connection:
                connection.sendall(request)
                assert answered(connection)[0] in (200, 500, 400, 413)
        with server.connect() as one, server.connect() as two:
            for connection in (one, two):
                connection.sendall(post("/slow", b"x" * 50_000))
                server.toy.began.get(timeout=WAIT_S)  # both are held, to the last byte
