"""One HTTP/1.1 connection: writes a request, reads its answer."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, cast

import httptools

from loadgen.exchange import Answer, Exchange

JOINED_BYTES = 16_384  # up to this size one copy is cheaper than a second buffer to write

_NAMES = {code: str(code) for code in range(1000)}


class Owner(Protocol):
    """Who uses the connection."""

    def free(self, connection: Connection) -> None:
        """The exchange is answered, the connection can take another."""

    def forget(self, connection: Connection) -> None:
        """The connection is of no more use."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time.

    The owner gets the connection back before the exchange is finished, so that whoever sends the
    next request from there finds it idle.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._exchange: Exchange | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._in_answer = False  # its headers have come
        self._framed = False  # its end is told by a length or by chunks, not by the closing
        self._complete = False
        self._keep = False  # the server takes another request
        self._closed = False

    @property
    def usable(self) -> bool:
        """Whether another exchange can be sent."""
        return not self._closed and not self._transport.is_closing()

    @property
    def busy_since_ns(self) -> int:
        """When the exchange it carries was asked for; 0 when it carries none."""
        return self._exchange.asked_ns if self._exchange is not None else 0

    def send(self, exchange: Exchange, head: bytes) -> None:
        """Write the request; call only on a usable, idle connection."""
        self._exchange = exchange
        body = exchange.request.body
        exchange.sent_ns = time.monotonic_ns()
        if len(body) <= JOINED_BYTES:
            self._transport.write(b"".join((head, body)))
        else:
            self._transport.writelines((head, body))

    def end(self, what: str) -> None:
        """Close at once; an exchange in flight ends as ``what``."""
        self._transport.abort()
        self._lose(what)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def data_received(self, data: bytes) -> None:
        """Read on; the answer may come in any number of pieces."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.end("malformed")
            return
        if self._complete:
            self._answered()

    def connection_lost(self, error: Exception | None) -> None:
        """The closing ends an answer that has no other end, and any other is lost."""
        if self._in_answer and not self._framed and error is None:
            self._closed = True
            self._answered()
        else:
            self._lose("closed")

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A new answer."""
        self._body.clear()
        self._in_answer = self._framed = False

    def on_header(self, name: bytes, _value: bytes) -> None:
        """Only those that frame the body matter."""
        if len(name) in (14, 17) and name.lower() in (b"content-length", b"transfer-encoding"):
            self._framed = True

    def on_headers_complete(self) -> None:
        """The body follows."""
        self._in_answer = True

    def on_body(self, body: bytes) -> None:
        """A piece of it."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """An interim answer (1xx) is none; the parser knows only here whether it may go on."""
        self._complete = self._parser.get_status_code() >= 200
        self._keep = self._parser.should_keep_alive()

    def _answered(self) -> None:
        exchange, self._exchange = self._exchange, None
        self._complete = self._in_answer = False
        if exchange is None:  # an answer nobody asked for: what follows cannot be told apart
            self.end("malformed")
            return
        code = self._parser.get_status_code()
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self._keep and not self._closed:
            self._owner.free(self)
        else:
            self._closed = True
            self._transport.abort()
            self._owner.forget(self)
        exchange.finish(exchange, Answer(_NAMES[code], 200 <= code < 300, lost=False, body=body))

    def _lose(self, what: str) -> None:
        exchange, self._exchange = self._exchange, None
        if not self._closed:
            self._closed = True
            self._owner.forget(self)
        if exchange is not None:
            exchange.finish(exchange, Answer.none(what))
