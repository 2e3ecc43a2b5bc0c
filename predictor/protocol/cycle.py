"""One request and its answer on a connection: uvicorn's, except for how they go wrong."""

from __future__ import annotations

import asyncio
import logging

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveEvent,
    ASGISendEvent,
    HTTPResponseStartEvent,
)
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from predictor.errors import PredictorError

logger = logging.getLogger(__name__)

CLOSE = (b"connection", b"close")


class Cycle(RequestResponseCycle):
    """One request and its answer: uvicorn's, except for how they go wrong.

    A body that will not be complete is refused where it is read, so that the application answers
    in its own way; a client that has left ends the task without a word in the log.
    """

    task: asyncio.Task[None] | None = None
    keep_alive_after_continue = False
    _head: HTTPResponseStartEvent  # of the answer that is being sent
    fault: PredictorError | None = None  # why the rest of the body is not coming

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Let the application answer; it does so whatever happens."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            logger.exception("an answer could not be sent")
            self.transport.close()
        finally:
            self.on_response = _nothing  # or connection and cycle would keep each other alive

    async def receive(self) -> ASGIReceiveEvent:
        """The next part of the body, or what is wrong with it.

        Raises:
            PredictorError: it is malformed or too slow.
        """
        if self.fault is not None:
            raise self.fault
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.keep_alive = self.keep_alive_after_continue
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not (self.disconnected or self.response_complete):
            if self.more_body:  # or else what would be read is of requests that come too early
                self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.fault is not None:
            raise self.fault
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: ASGISendEvent) -> None:
        """Send an answer, which the application gives as one head and one body, in one packet.

        uvicorn's own writes them one by one, and a write to a socket costs as much as a parse.
        """
        if message["type"] == "http.response.start":
            self.response_started = True
            self._head = message
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected or message["type"] != "http.response.body":
            return
        parts = [STATUS_LINE[self._head["status"]]]
        for name, value in self._head["headers"]:
            parts += (name, b": ", value, b"\r\n")
        if CLOSE in self._head["headers"]:
            self.keep_alive = False
        elif not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", message["body"])
        self.transport.write(b"".join(parts))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def take(self, body: bytes) -> None:
        """Keep a part of the body for ``receive``: as it is, unless others wait there already."""
        waiting: bytes | bytearray = self.body
        if not waiting:
            self.body = body  # type: ignore[assignment]  # receive makes bytes of it: no copy then
        elif isinstance(waiting, bytearray):
            waiting += body
        else:
            self.body = bytearray(waiting)
            self.body += body
        self.message_event.set()

    def expect_continue(self) -> None:
        """The client may wait for leave to send its body.

        Refused without one, it sends either the body or its next request, and nothing tells which:
        then the connection must not be used again (RFC 9110, 10.1.1).
        """
        self.keep_alive_after_continue, self.keep_alive = self.keep_alive, False

    def complete(self) -> None:
        """The whole body has come, perhaps without waiting for leave."""
        if self.waiting_for_100_continue:
            self.waiting_for_100_continue = False
            self.keep_alive = self.keep_alive_after_continue
        self.more_body = False
        self.message_event.set()

    def fail(self, fault: PredictorError) -> None:
        """The rest of the body is not coming: refuse the request, and close the connection."""
        self.fault = fault
        self.keep_alive = False
        self.message_event.set()


def _nothing() -> None:
    pass
