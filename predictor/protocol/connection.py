"""One HTTP connection: uvicorn's, with bounds on what its client sends and how long that takes."""

from __future__ import annotations

import asyncio
import fcntl
import math
import struct
import termios
from collections import deque
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from predictor.errors import BadRequestError, BodyTimeoutError
from predictor.protocol.body import BodyLimits
from predictor.protocol.cycle import Cycle
from predictor.protocol.http import CLIENT_LEFT, IMAGES, JSON
from predictor.protocol.readers import Readers
from predictor.protocol.request_id import request_id

LARGEST_HEAD_BYTES = 64 * 1024  # URL, header names and values of one request
HEAD_TOO_LARGE = f"URL and headers are over the limit of {LARGEST_HEAD_BYTES} bytes"
MOST_AHEAD = 128  # requests sent before their turn; each takes a few KiB while it waits
LEAST_DISCARDED_BYTES = 1024 * 1024
A_FEW_ANSWERS = 16 * 1024  # bytes; one alone may always be on its way
INT = struct.Struct("i")  # C's
LINGER_S = 2.0  # for a client that is hung up on to read why


class Reading(Enum):
    """What a connection is waiting for its client to send."""

    ANYTHING = auto()  # it has just connected
    HEAD = auto()
    BODY = auto()
    NEXT = auto()  # another request, if it likes
    NOTHING = auto()  # it is hung up on; what it still sends is thrown away


class HeadTooLargeError(Exception):
    """URL and headers of a request are over the limit."""


class Connection(HttpToolsProtocol):
    """Reads requests and has them answered in order, one at a time.

    What is wrong with a head is answered here, what is wrong with a body by the application.
    """

    cycle: Cycle  # the request that was read last

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: BodyLimits,
        readers: Readers,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._readers = readers
        self._timeout_s = limits.timeout_s
        self._most_discarded = max(limits.max_bytes, LEAST_DISCARDED_BYTES)
        self._answering: Cycle | None = None
        self._ahead: deque[Cycle] = deque()  # requests that came before their turn, in order
        self._ahead_bytes = 0  # of their bodies
        self._reading = Reading.ANYTHING
        self._since = 0.0  # loop time at which the wait for what is ``_reading`` began
        self._received = 0  # bytes before those that are being parsed
        self._head_from = 0  # of these, at the first that are the head's alone
        self._head_bytes = 0
        self._left = 0  # bytes that are still to come of a body whose length is known
        self._discarded = 0
        self._other_protocol = False
        self._refusal: tuple[int, str] | None = None  # to be sent after the answers still owed

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._since = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the request that is being answered: nobody waits for it."""
        super().connection_lost(exc)
        answering = self._answering
        if answering is not None and answering.task is not None:
            answering.disconnected = True
            answering.task.cancel(CLIENT_LEFT)
        self._answering = None
        self._readers.gone(self)

    # What comes in

    def data_received(self, data: bytes) -> None:
        """Parse what has come; a request starts as soon as its head is complete."""
        if self._reading is Reading.NOTHING:
            self._discard(len(data))
            return
        self._received += len(data)
        if self._reading is Reading.BODY and self._left > 0:
            data = self._more_of_body(data)
        while data:
            try:
                self.parser.feed_data(data)
                data = b""
            except httptools.HttpParserUpgrade as upgrade:
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
            except httptools.HttpParserError as error:
                self._refuse_malformed(error)
                data = b""
        self._bound_head()

    def _bound_head(self) -> None:
        """Refuse what goes on and on and is no body: a head, what trails a body, a chunk's size."""
        if self._received - self._head_from <= LARGEST_HEAD_BYTES:
            return
        if self._reading is Reading.HEAD:
            self._refuse(431, HEAD_TOO_LARGE)
        elif self._reading is Reading.BODY:
            self._refuse_body("what surrounds the body's chunks is too long")

    def _more_of_body(self, data: bytes) -> bytes:
        """Take a body whose length is known past the parser, which would copy it; what is over."""
        piece, rest = data[: self._left], data[self._left :]
        self.on_body(piece)
        if self._left == 0:
            self._renew_parser()  # the old one still waits for the body
            self.on_message_complete()
        return rest

    def _renew_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def on_message_begin(self) -> None:
        """A request begins (parser)."""
        super().on_message_begin()
        self._left = 0
        self._reading, self._since = Reading.HEAD, self.loop.time()
        self._head_bytes = self._discarded = 0
        self._head_from = self._received

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header (parser)."""
        if self._reading is not Reading.HEAD:
            return  # what trails a body is no header: it came behind every check of them
        name = name.lower()
        self._head_bytes += len(name) + len(value)
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        elif name == b"content-length":
            self._left = int(value)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Start the request, or queue it behind those before it (parser).

        Raises:
            HeadTooLargeError, BadRequestError: it is refused, with all that follows it.
        """
        if len(self.url) + self._head_bytes > LARGEST_HEAD_BYTES:
            raise HeadTooLargeError
        if len(self._ahead) >= MOST_AHEAD:
            raise BadRequestError(f"over {MOST_AHEAD} requests were sent before their turn")
        self._complete_scope()
        if self.scope["method"] == "CONNECT":
            raise BadRequestError("CONNECT is not taken: this is no proxy")
        if self.parser.should_upgrade():
            self._other_protocol = True
            return
        self._reading, self._since = Reading.BODY, self.loop.time()
        before, self.cycle = self.cycle, self._new_cycle()
        if before is None or before.response_complete:
            self._start(self.cycle)
        else:
            self._ahead.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        """A part of a body (parser)."""
        self._left -= len(body)
        self._head_from = self._received
        if self.cycle.response_complete:
            self._discard(len(body))
            return
        self.cycle.take(body)
        if self._ahead:
            self._ahead_bytes += len(body)
        if max(len(self.cycle.body), self._ahead_bytes) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """A request has been read (parser)."""
        if self._other_protocol:
            return
        self._reading = Reading.NEXT
        self._since = self.loop.time()
        if not self.cycle.response_complete:
            self.cycle.complete()
        if not self._ahead:
            self.flow.resume_reading()  # one who does not read does not see that a client leaves

    # What goes out

    def on_response_complete(self) -> None:
        """A request was answered: go on to the next."""
        self.server_state.total_requests += 1
        if self._answering is not None:
            images = self._answering.scope["state"].get(IMAGES, 0)
            if images:
                self._readers.answered(self, images)
        self._answering = None
        self._since = self.loop.time()
        if self.transport.is_closing():
            return
        if self._ahead:
            first = self._ahead.popleft()
            self._ahead_bytes -= len(first.body)
            self._start(first)
        elif self._refusal is not None:
            self._refuse(*self._refusal)
        if self._ahead_bytes <= HIGH_WATER_LIMIT:  # more than that is enough to go on with
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read what it is sent (transport)."""
        super().pause_writing()
        self._since = self.loop.time()

    @property
    def answering(self) -> bool:
        """A request is under way."""
        return self._answering is not None

    @property
    def untaken(self) -> bool:
        """The client leaves answers lying, here or more than a few of them in the kernel."""
        if self.transport.get_write_buffer_size() > 0:
            return True
        connection = self.transport.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return False
        try:
            queue = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(INT.size))
        except OSError:  # it has just gone
            return False
        (queued,) = INT.unpack(queue)
        return bool(queued > A_FEW_ANSWERS)

    def look_at_the_clock(self, now: float) -> None:
        """Hang up on a client that has kept this connection waiting for too long."""
        waited_s = now - self._since
        if self.flow.write_paused or self.transport.is_closing():
            if waited_s > self._timeout_s:
                self.transport.abort()
        elif self.flow.read_paused:
            self._since = now  # it is the client that waits
        elif waited_s > self._patience_s():
            self._give_up()

    def _patience_s(self) -> float:
        """How long the client may take for what it is to send next."""
        if self._reading not in (Reading.NEXT, Reading.NOTHING):
            return self._timeout_s
        if self._answering is not None:
            return math.inf
        return self.timeout_keep_alive if self._reading is Reading.NEXT else LINGER_S

    def _give_up(self) -> None:
        if self._reading is Reading.HEAD:
            text = f"the headers did not arrive within {self._timeout_s:g} s (body_timeout_s)"
            self._refuse(408, text)
        elif self._reading is Reading.BODY and not self.cycle.response_complete:
            text = f"the body did not arrive within {self._timeout_s:g} s (body_timeout_s)"
            self.cycle.fail(BodyTimeoutError(text))
        else:
            self.transport.close()

    # Refusals

    def _refuse_malformed(self, error: httptools.HttpParserError) -> None:
        # httptools hangs what one of the methods above raised on an error of its own.
        callback = isinstance(error, httptools.HttpParserCallbackError)
        cause = error.__context__ if callback else error
        if isinstance(cause, HeadTooLargeError):
            self._refuse(431, HEAD_TOO_LARGE)
            return
        if isinstance(cause, BadRequestError):
            text = str(cause)
        elif isinstance(cause, httptools.HttpParserError):
            text = f"malformed HTTP: {cause}"
        else:
            raise error
        if self._reading is Reading.BODY:
            self._refuse_body(text)
        else:
            self._refuse(400, text)

    def _refuse_body(self, text: str) -> None:
        """Read no more of a body, and have its request refused, unless that has been answered."""
        self._reading = Reading.NOTHING
        if self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.fail(BadRequestError(text))

    def _refuse(self, status: int, text: str) -> None:
        """Answer what never became a request, and hang up: after the answers that are owed."""
        self._reading = Reading.NOTHING
        self._since = self.loop.time()
        if self._answering is not None:
            self._refusal = (status, text)
            return
        body = orjson.dumps({"error": text})
        given = dict(self.headers or ()).get(b"x-request-id", b"").decode("latin-1")
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: %b\r\ncontent-length: %d\r\n" % (JSON, len(body))
            + b"x-request-id: %b\r\nconnection: close\r\n\r\n" % request_id(given).encode()
            + body
        )
        # Closed at once, what the client is still sending would destroy the answer on its way.
        self.transport.write_eof()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self._most_discarded:
            self.transport.close()

    # Requests

    def _complete_scope(self) -> None:
        """Complete what the application is told of the request."""
        url = httptools.parse_url(self.url)
        raw_path = url.path or b"/"
        path = raw_path.decode("ascii")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = self.parser.get_http_version()
        self.scope["path"] = unquote(path) if "%" in path else path
        self.scope["raw_path"] = raw_path
        self.scope["query_string"] = url.query or b""

    def _new_cycle(self) -> Cycle:
        cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=self.scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if self.expect_100_continue:
            cycle.expect_continue()
        return cycle

    def _start(self, cycle: Cycle) -> None:
        self._answering = cycle
        cycle.task = self.loop.create_task(cycle.run_asgi(self.app))
        cycle.task.add_done_callback(self.tasks.discard)
        self.tasks.add(cycle.task)

    def _head_without_upgrade(self) -> bytes:
        """The head of a request for another protocol, as if it had not asked (RFC 9110, 7.8).

        The parser believes that the protocol changes behind the head and has left the body out, so
        it gets the head again, without the wish. Java's client asks for HTTP/2 in this way.
        """
        self._other_protocol = False
        self._renew_parser()  # the old one reads no more from a connection that is to be closed
        headers = (b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade")
        method, version = self.scope["method"].encode(), self.scope["http_version"].encode()
        return b"%b %b HTTP/%b\r\n%b\r\n" % (method, self.url, version, b"".join(headers))
