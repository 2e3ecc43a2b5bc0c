"""Request bodies: read within a frontend's bounds, without their content codings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from predictor.errors import OverloadedError, TooLargeError
from predictor.observer import Observer
from predictor.protocol import compression

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Not counted against max_buffered_bytes, so that small requests are served while large ones wait:
# no client has the connections to fill a memory with these.
SMALL_BODY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bounds on what clients send.

    Attributes:
        max_bytes: of one body, as it comes and decompressed.
        timeout_s: to send the head of a request, and again to send its body.
        max_buffered_bytes: of all bodies that are held at one time.
    """

    max_bytes: int
    timeout_s: float
    max_buffered_bytes: int


class Bodies:
    """Reads request bodies within a frontend's bounds.

    Args:
        limits: the bounds.
        observer: told of refusals.
    """

    def __init__(self, limits: BodyLimits, observer: Observer) -> None:
        self._limits = limits
        self.observer = observer
        self.free_bytes = limits.max_buffered_bytes

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive, share: Share) -> bytes:
        """A request's whole body, without its content codings.

        Raises:
            TooLargeError: it is over the limit.
            OverloadedError: all bodies together would be.
            UnsupportedEncodingError, BadRequestError: it is compressed in a way that is not taken,
                or badly.
            ClientLeftError: it is not complete and never will be.
        """
        length = headers.get(b"content-length", b"")
        if not length and b"transfer-encoding" not in headers:
            return b""
        coding = headers.get(b"content-encoding")
        codings = compression.content_codings(coding) if coding is not None else ()
        if length.isdigit():  # refused before it is read, where that can be known
            self._check(int(length))
            share.check(int(length))
        body = await self._received(receive, share)
        if not codings or not body:
            return body
        return await compression.decode(
            body, codings, self._limits.max_bytes, lambda size: share.cover(len(body) + size)
        )

    async def _received(self, receive: Receive, share: Share) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            self._check(size)
            share.cover(size)
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _check(self, size: int) -> None:
        if size > self._limits.max_bytes:
            raise TooLargeError(
                f"the body is over the limit of {self._limits.max_bytes} bytes (max_body_bytes)"
            )


class Share:
    """What one request holds of a frontend's room for bodies."""

    __slots__ = ("_bodies", "_held")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._held = 0

    def check(self, size: int) -> None:
        """Whether there is room for ``size`` bytes in all.

        Raises:
            OverloadedError: there is none.
        """
        if size > SMALL_BODY_BYTES and size - self._held > self._bodies.free_bytes:
            self._bodies.observer.refused("bodies_full")
            raise OverloadedError(
                f"no room for a body of {size} bytes beside the others (max_buffered_bytes)"
            )

    def cover(self, size: int) -> None:
        """Hold ``size`` bytes from now on, in all; 0 gives everything back.

        Raises:
            OverloadedError: there is no room for them.
        """
        self.check(size)
        counted = size if size > SMALL_BODY_BYTES else 0
        self._bodies.free_bytes -= counted - self._held
        self._held = counted


class ClientLeftError(Exception):
    """The client closed the connection before its body was complete."""
