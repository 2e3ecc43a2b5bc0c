"""The API by HTTP, on the loopback, a thread per connection."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.kubernetes import refusals
from tests.kubernetes.api import Api, Reply, Request, Stream
from tests.kubernetes.refusals import RefusedError
from tests.kubernetes.trouble import Harm, Trouble, Troubles

# A watcher whom nothing happens to looks up this often whether it is to end.
IDLE_S = 0.5


class _GoneError(Exception):
    """The connection is to end here."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Clients that come at once all find room.
    request_queue_size = 128

    def __init__(self, api: Api, troubles: Troubles, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        if tls:
            # Hands are shaken in the connection's own thread.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.api, self.troubles = api, troubles
        self.stopping = threading.Event()
        self.failures: list[Exception] = []
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no error."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.lock:
            self.server.open.add(self.connection)

    def finish(self) -> None:
        with self.server.lock:
            self.server.open.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def log_message(self, *_: Any) -> None:
        """Tests read ``asked`` instead."""

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query)),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        try:
            self._serve(request)
        except (_GoneError, ConnectionError):
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815 - as http.server names them

    def _serve(self, request: Request) -> None:
        trouble = self.server.troubles.meeting(self.server.api.verb(request), request.path)
        harm = trouble.harm if trouble else None
        try:
            if trouble:
                self._before(trouble)
            reply = self.server.api.answer(request)
        except RefusedError as refusal:
            reply = Reply(refusal.code, refusal.body)
            if refusal.retry_after_s is not None:
                self._send(reply, {"Retry-After": str(refusal.retry_after_s)})
                return
        except _GoneError:
            raise
        except Exception as error:  # noqa: BLE001 - the test's end tells it
            self.server.failures.append(error)
            body = refusals.RefusedError(500, "InternalError", f"in the fake: {error!r}").body
            reply = Reply(500, body)
        if harm is Harm.UNHEARD:
            self._reset()
        if isinstance(reply, Stream):
            self._stream(reply, cut=harm is Harm.CUT)
        else:
            self._send(reply, {}, cut=harm is Harm.CUT)

    def _before(self, trouble: Trouble) -> None:
        if trouble.harm is Harm.REFUSED:
            raise trouble.refusal or refusals.too_many(1)
        if trouble.harm is Harm.LOST:
            self._reset()
        if trouble.harm is Harm.HELD:
            while not trouble.release.wait(IDLE_S):
                if self.server.stopping.is_set():
                    raise _GoneError

    def _reset(self) -> None:
        # To linger for no time is to reset.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise _GoneError

    def _send(self, reply: Reply, headers: dict[str, str], *, cut: bool = False) -> None:
        body = json.dumps(reply.body).encode() + b"\n"
        self.send_response(reply.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        for warning in reply.warnings:
            escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
            self.send_header("Warning", f'299 - "{escaped}"')
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            raise _GoneError

    def _stream(self, stream: Stream, *, cut: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        ends = time.monotonic() + stream.timeout_s if stream.timeout_s else None
        changed = self.server.api.objects.store.changed
        while not self.server.stopping.is_set():
            with changed:
                events = stream.watch.next()
                left = IDLE_S if ends is None else min(IDLE_S, ends - time.monotonic())
                if not events and left > 0:
                    changed.wait(left)
                    events = stream.watch.next()
            for event in events:
                self._chunk(event, cut=cut)
                if event["type"] == "ERROR":
                    ends = time.monotonic()
            if ends is not None and time.monotonic() >= ends:
                break
        if stream.bookmarks and not self.server.stopping.is_set():
            self._chunk(stream.watch.bookmark())
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, event: Any, *, cut: bool = False) -> None:
        line = json.dumps(event).encode() + b"\n"
        if cut:
            self.wfile.write(f"{len(line):x}\r\n".encode() + line[: len(line) // 2])
            raise _GoneError
        self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


class Served:
    """The API while it is served: ``url``, until ``close``; with ``tls`` by HTTPS."""

    def __init__(self, api: Api, troubles: Troubles, tls: ssl.SSLContext | None = None) -> None:
        self._server = _Server(api, troubles, tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="kubernetes-api",
            daemon=True,
        )
        self._thread.start()

    def drop_connections(self) -> None:
        """End all that are open, as when an API server restarts."""
        with self._server.lock:
            for each in self._server.open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def close(self, *, before_joining: Callable[[], None] = lambda: None) -> None:
        """Take no more, end what is open.

        Raises:
            Exception: what went wrong in the fake itself.
        """
        self._server.stopping.set()
        before_joining()
        self._server.shutdown()
        self.drop_connections()
        self._server.server_close()
        self._thread.join()
        if self._server.failures:
            raise self._server.failures[0]
