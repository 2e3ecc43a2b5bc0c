"""Bodies in gzip and deflate: taken within the limit, and sent where they are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import random
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.errors import BadRequestError, TooLargeError, UnsupportedEncodingError
from predictor.protocol import compression
from tests.protocol.server import Served, answered, served

LIMIT = 1_000_000  # bytes
TEXT = b"the same again, " * 100


def raw_deflate(data: bytes) -> bytes:
    """Without zlib's header, as some clients have it."""
    return zlib.compress(data, wbits=-15)


def whole(body: bytes, *codings: str, limit: int = LIMIT) -> bytes:
    """A body without its codings."""
    return b"".join(compression.decompressed(body, codings, limit))


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server, on whose limit the tests agree."""
    with served(max_bytes=LIMIT) as server:
        yield server


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", ()),
        (b"identity", ()),
        (b"gzip", ("gzip",)),
        (b"X-GZip", ("gzip",)),
        (b"deflate, identity ,gzip", ("deflate", "gzip")),
        (b"gzip,,", ("gzip",)),
    ],
)
def test_codings_are_read_in_their_order(header, expected):
    """Any case, aliases, and items that mean nothing."""
    assert expected == compression.content_codings(header)


@pytest.mark.parametrize("header", [b"br", b"gzip, zstd", b"gzip;q=1", b"gzip, " * 3 + b"gzip"])
def test_a_coding_that_is_not_taken_is_refused(header):
    """The text names what is, or how many."""
    with pytest.raises(UnsupportedEncodingError, match=r"gzip, x-gzip, deflate and|at most 3"):
        compression.content_codings(header)


@given(st.binary(max_size=5000))
def test_what_was_compressed_comes_out_again(data):
    """In every coding, and in two on top of each other."""
    assert data == whole(gzip.compress(data), "gzip")
    assert data == whole(zlib.compress(data), "deflate")
    assert data == whole(raw_deflate(data), "deflate")
    assert data == whole(gzip.compress(raw_deflate(data)), "deflate", "gzip")


@pytest.mark.parametrize("size", [compression.PIECE_BYTES, compression.INPUT_BYTES + 1, 3_000_000])
def test_long_bodies_come_in_pieces(size):
    """Whether they shrink or not."""
    for data in (bytes(size), random.Random(5).randbytes(size)):
        pieces = list(compression.decompressed(gzip.compress(data, 1), ("gzip",), size))

        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= compression.PIECE_BYTES


@given(st.binary(max_size=200), st.lists(st.sampled_from(["gzip", "deflate"]), max_size=3))
def test_arbitrary_bytes_are_refused_as_such(data, codings):
    """Nothing but the documented errors comes out."""
    with contextlib.suppress(BadRequestError, TooLargeError):
        whole(data, *codings)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda good: good[:-1], "ends in the middle"),
        (lambda good: b"", "ends in the middle"),
        (lambda good: good + b"x", "goes on after the end"),
        (lambda good: good + good, "goes on after the end"),
        (lambda good: good[:-3] + b"abc", "not valid"),
        (lambda good: b"\x78nothing", "not valid"),
    ],
    ids=["cut", "empty", "longer", "twice", "wrong sum", "garbage"],
)
def test_a_spoiled_body_is_refused(coding, spoil, words):
    """The text says how."""
    good = gzip.compress(TEXT) if coding == "gzip" else zlib.compress(TEXT)

    with pytest.raises(BadRequestError, match=words):
        whole(spoil(good), coding)


def test_the_limit_is_exact():
    """A body of as many bytes is taken, of one more is not."""
    assert len(whole(gzip.compress(bytes(LIMIT)), "gzip")) == LIMIT
    with pytest.raises(TooLargeError, match="1000000 bytes"):
        whole(gzip.compress(bytes(LIMIT + 1)), "gzip")


def test_a_bomb_is_never_held():
    """A hundred times the limit costs about the limit, no more."""
    bomb = gzip.compress(bytes(100 * LIMIT), 1)
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError):
            whole(bomb, "gzip")
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert held < LIMIT + 4 * compression.PIECE_BYTES


def test_a_bomb_within_a_bomb_is_no_endless_work():
    """What lies between two codings is under the limit too, though nothing of it comes out."""
    empty_block = b"\x00\x00\x00\xff\xff"  # deflate that says nothing
    bomb = gzip.compress(empty_block * 10_000_000, 1)

    with pytest.raises(TooLargeError):
        whole(bomb, "deflate", "gzip")


@pytest.mark.parametrize("size", [100, compression.SMALL_OUTPUT_BYTES + 1, LIMIT])
def test_what_has_come_out_is_counted_before_more_does(size):
    """Small ones are over before it matters; the caller may refuse the rest."""
    held: list[int] = []
    body = gzip.compress(bytes(size))

    out = asyncio.run(compression.decode(body, ("gzip",), 2 * LIMIT, held.append))

    assert len(out) == size
    assert held == ([] if size <= compression.SMALL_OUTPUT_BYTES else [size])


def test_long_bodies_are_counted_step_by_step():
    """One step is all that is ever too much."""
    held: list[int] = []
    size = 5 * compression.STEP_BYTES

    asyncio.run(compression.decode(gzip.compress(bytes(size)), ("gzip",), size, held.append))

    assert held[-1] == size
    steps = [later - earlier for earlier, later in itertools.pairwise([0, *held])]
    assert max(steps) < compression.STEP_BYTES + compression.PIECE_BYTES


@pytest.mark.parametrize(
    ("accept", "coding", "must"),
    [
        ("gzip", "gzip", False),
        ("deflate", "deflate", False),
        ("gzip, deflate, br, zstd", "gzip", False),
        ("gzip;q=0.5, deflate;q=0.8", "deflate", False),
        ("GZIP ; Q=1.0", "gzip", False),
        ("x-gzip", "gzip", False),
        ("*", "gzip", False),
        ("gzip;q=0, *", "deflate", False),
        ("br", "identity", False),
        ("", "identity", False),
        ("identity", "identity", False),
        ("gzip;q=0", "identity", False),
        ("gzip;q=0.2, identity;q=0.9", "identity", False),
        ("gzip;q=nan", "identity", False),
        ("gzip;q=2", "identity", False),
        ("gzip, identity;q=0", "gzip", True),
        ("gzip, *;q=0", "gzip", True),
        ("identity;q=0", "identity", False),
        ("*;q=0", "identity", False),
    ],
)
def test_the_coding_a_client_likes_best_is_chosen(accept, coding, must):
    """By weight; gzip among equals; what it forbids is not sent if there is another."""
    assert (coding, must) == compression.accepted_coding(accept.encode())


def test_small_and_unyielding_answers_stay_as_they_are():
    """Unless the client forbids that."""
    small, random_bytes = b"x" * (compression.SMALLEST_BYTES - 1), os.urandom(1000)

    assert compression.compressed(small, b"gzip") == (small, "identity")
    assert compression.compressed(random_bytes, b"gzip") == (random_bytes, "identity")
    assert gzip.decompress(compression.compressed(small, b"gzip, *;q=0")[0]) == small
    assert compression.compressed(b"", b"gzip, *;q=0") == (b"", "identity")


REQUESTS = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
    "two": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("size", [10, 300_000], ids=["small", "large"])
def test_a_compressed_request_reaches_its_route_as_it_was(server, name, size):
    """Small ones on the event loop, large ones beside it."""
    coding, compress = REQUESTS[name]
    data = random.Random(7).randbytes(size)
    client = server.client()

    client.request("POST", "/echo", compress(data), {"Content-Encoding": coding})

    assert client.getresponse().read() == data
    client.close()


REFUSED = {
    "unknown": ("br", TEXT, 415, "br is not taken; gzip, x-gzip, deflate and identity are"),
    "corrupt": ("gzip", TEXT, 400, "not valid gzip"),
    "cut": ("gzip", gzip.compress(os.urandom(100_000))[:-9], 400, "ends in the middle"),
    "bomb": ("gzip", gzip.compress(bytes(100 * LIMIT)), 413, "limit of 1000000 bytes"),
    "small bomb": ("gzip", gzip.compress(bytes(2 * LIMIT)), 413, "once it is decompressed"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_decompressed_is_refused(server, name):
    """415, 400 and 413, on a connection that goes on."""
    coding, body, status, words = REFUSED[name]
    client = server.client()

    client.request("POST", "/echo", body, {"Content-Encoding": coding})
    answer = client.getresponse()
    error = json.loads(answer.read())["error"]
    client.request("POST", "/echo", gzip.compress(b"fine"), {"Content-Encoding": "gzip"})

    assert (answer.status, client.getresponse().read()) == (status, b"fine")
    assert words in error
    assert (answer.headers["accept-encoding"] == "gzip, deflate") == (status == 415)
    client.close()


def test_the_decompressed_size_counts_as_held():
    """A small body that becomes a large one is refused like a large one."""
    with served(max_bytes=5_000_000, max_buffered_bytes=2_000_000) as server:
        client = server.client()
        for size, status in ((1_900_000, 200), (4_000_000, 503), (1_900_000, 200)):
            body = gzip.compress(bytes(size))
            client.request("POST", "/echo", body, {"Content-Encoding": "gzip"})
            answer = client.getresponse()
            answer.read()
            assert answer.status == status
        client.close()


def test_a_client_that_leaves_during_decompression_leaves_no_bytes_behind():
    """All that was held is free again."""
    with served(max_bytes=50_000_000, max_buffered_bytes=50_000_000) as server:
        body = gzip.compress(bytes(40_000_000), 1)
        head = f"POST /echo HTTP/1.1\r\nContent-Length: {len(body)}\r\nContent-Encoding: gzip\r\n"
        for _ in range(3):
            with server.connect() as leaving:
                leaving.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
                leaving.recv(65536)
                leaving.sendall(body)
            code = server.observer.codes.get(timeout=60)
            assert code in (("v2", "499"), ("v2", "200"))
        with server.connect() as staying:
            staying.sendall(head.encode() + b"\r\n" + body)
            assert answered(staying)[0] == 200


def test_an_answer_is_compressed_for_a_client_that_asks(server):
    """Its length is of what is sent; a cache is told."""
    client = server.client()
    for accept, expand in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        client.request("POST", "/echo", TEXT, {"Accept-Encoding": accept})
        answer = client.getresponse()
        body = answer.read()

        assert expand(body) == TEXT
        assert answer.headers["content-encoding"] == accept
        assert answer.headers["vary"] == "accept-encoding"
        assert int(answer.headers["content-length"]) == len(body) < len(TEXT)
    client.close()


def test_a_large_answer_is_compressed_too(server):
    """Beside the event loop."""
    client = server.client()
    data = b"ab" * compression.INLINE_ANSWER_BYTES
    client.request("POST", "/echo", data, {"Accept-Encoding": "gzip"})

    assert gzip.decompress(client.getresponse().read()) == data
    client.close()


def test_errors_and_small_answers_come_plain(server):
    """http.client says identity of itself; no word about codings comes back."""
    client = server.client()
    client.request("GET", "/health", headers={"Accept-Encoding": "gzip"})
    answer = client.getresponse()

    assert json.loads(answer.read()) == {"live": True}
    assert "content-encoding" not in answer.headers
    client.close()
