"""HTTP connections over real sockets: bounds, bad clients, and clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import SimpleQueue

import pytest
import uvicorn
import uvloop

from predictor.observation import Observation
from predictor.protocol.body import BodyLimits
from predictor.protocol.connection import (
    LARGEST_HEAD_BYTES,
    LEAST_DISCARDED_BYTES,
    MOST_AHEAD,
    Cycle,
)
from predictor.protocol.connections import Connections
from predictor.protocol.cors import Cors
from predictor.protocol.http import (
    Application,
    Request,
    Response,
    Route,
    Routes,
    json_response,
)
from predictor.protocol.readers import Readers

WAIT_S = 60  # for what happens at once; only a failure waits this long
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Watching:
    """An observer that passes on what it is told."""

    def __init__(self) -> None:
        self.codes: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self.refusals: list[str] = []

    def finished(self, observation: Observation) -> None:
        """One request is over."""
        self.codes.put((observation.protocol, observation.code))

    def refused(self, reason: str) -> None:
        """One request found no room."""
        self.refusals.append(reason)


@dataclass
class Toy:
    """Routes that show what reaches them, and one that takes as long as it is let."""

    seen: SimpleQueue[Request] = field(default_factory=SimpleQueue)
    began: SimpleQueue[str] = field(default_factory=SimpleQueue)  # ids at /slow
    ended: SimpleQueue[str] = field(default_factory=SimpleQueue)  # "ID answered", "ID cancelled"
    release: asyncio.Event = field(default_factory=asyncio.Event)

    def table(self) -> Routes:
        """Every route."""
        return {
            "/health": {"GET": Route(self.health)},
            "/echo": {"POST": Route(self.echo, "v2"), "GET": Route(self.echo)},
            "/slow": {"POST": Route(self.slow, "v2"), "GET": Route(self.slow)},
            "/broken": {"POST": Route(self.broken, "v1")},
        }

    async def health(self, request: Request) -> Response:
        """Nothing but an answer."""
        return json_response({"live": True})

    async def echo(self, request: Request) -> Response:
        """The body comes back."""
        self.seen.put(request)
        return Response(200, request.body, b"application/octet-stream")

    async def slow(self, request: Request) -> Response:
        """As an inference: takes a while, and has something to drop when it is given up."""
        self.began.put(request.observation.request_id)
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.ended.put(f"{request.observation.request_id} cancelled")
            raise
        self.ended.put(f"{request.observation.request_id} answered")
        return json_response({"id": request.observation.request_id})

    async def broken(self, request: Request) -> Response:
        """A bug."""
        raise ZeroDivisionError("our insides")


@dataclass
class Served:
    """A server in a thread of its own."""

    port: int
    toy: Toy
    observer: Watching
    loop: asyncio.AbstractEventLoop
    server: uvicorn.Server

    def connect(self) -> socket.socket:
        """A bare connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)

    def client(self) -> http.client.HTTPConnection:
        """A client with a connection of its own."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)

    def let_go(self) -> None:
        """Let /slow answer."""
        with contextlib.suppress(RuntimeError):  # the server has gone, and /slow with it
            self.loop.call_soon_threadsafe(self.toy.release.set)


@contextlib.contextmanager
def served(
    *,
    max_bytes: int = 1_000_000,
    timeout_s: float = WAIT_S,
    max_buffered_bytes: int = 10_000_000,
    keep_alive_s: int = WAIT_S,
    stop_within_s: int = WAIT_S,
    cors: Cors | None = None,
) -> Iterator[Served]:
    """Our application on our connections in uvicorn on uvloop, as the frontend has it."""
    observer, ready = Watching(), threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    answer: list[Served] = []

    async def serve() -> None:
        toy = Toy()
        limits = BodyLimits(max_bytes, timeout_s, max_buffered_bytes)
        config = uvicorn.Config(
            Application(toy.table(), limits, observer, lambda: False, cors),
            http=Connections(limits, Readers()),  # type: ignore[arg-type]  # as in the frontend
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=keep_alive_s,
            timeout_graceful_shutdown=stop_within_s,
        )
        server = uvicorn.Server(config)
        port = listener.getsockname()[1]
        answer.append(Served(port, toy, observer, asyncio.get_running_loop(), server))
        ready.set()
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=uvloop.run, args=(serve(),))
    thread.start()
    assert ready.wait(WAIT_S)
    try:
        yield answer[0]
    finally:
        answer[0].let_go()
        answer[0].server.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server with room for everything."""
    with served() as server:
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Served]:
    """One server that waits for nobody."""
    with served(timeout_s=0.3, keep_alive_s=1) as server:
        yield server


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def head_and_error(answer: bytes) -> tuple[str, str]:
    """The head and the error's text of one JSON refusal, which is checked to be one."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert "\r\ncontent-type: application/json\r\n" in head
    assert f"\r\ncontent-length: {len(body.encode())}\r\n" in head
    assert re.search(r"\r\nx-request-id: [!-~]{1,128}", head)
    error = json.loads(body)["error"]
    assert "\n" not in error
    return head, error


def answered(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of the next answer on a connection; nothing behind it is touched."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += (byte := connection.recv(1))
        assert byte, f"hung up on after {head!r}"
    length = re.search(rb"\r\ncontent-length: (\d+)", head)
    body = b""
    while length is not None and len(body) < int(length[1]):
        body += (part := connection.recv(int(length[1]) - len(body)))
        assert part, "hung up on in the middle of a body"
    return int(head.split()[1]), body


def post(path: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole request."""
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


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


def test_bodies_ahead_of_their_turn_are_not_read_to_their_end():
    """They wait on the client's side, as far as buffers allow."""
    with served() as server, server.connect() as eager:
        eager.sendall(post("/slow"))
        server.toy.began.get(timeout=WAIT_S)
        eager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            eager.sendall(post("/echo", bytes(30_000_000)))


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


def test_options_without_a_body_has_no_length(server):
    """204 with Allow, as ever."""
    client = server.client()
    client.request("OPTIONS", "/echo")
    answer = client.getresponse()
    client.close()

    assert (answer.status, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
    assert "content-length" not in answer.headers
