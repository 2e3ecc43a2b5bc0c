"""HTTP for the predictor's routes, as a bare ASGI application.

It stands where KServe's FastAPI routes would: those turn a JPEG into a Python list of numbers and
cost more than the inference of a small network (docs/architecture.md has the figures).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import orjson

from predictor.errors import (
    BodyTimeoutError,
    NotReadyError,
    OverloadedError,
    PredictorError,
    TooLargeError,
    UnknownModelError,
    UnsupportedEncodingError,
)
from predictor.metrics import FrontendMetrics
from predictor.protocol.status import GENERIC_TEXT, client_text, http_status

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

JSON = b"application/json"  # no charset: KServe's client compares exactly


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request with its whole body."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one method of one path; ``protocol`` labels the requests that are counted."""

    endpoint: Callable[[Request], Awaitable[Response]]
    protocol: str | None = None


Routes: TypeAlias = Mapping[str, Mapping[str, Route]]  # path → method → route


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, and how long a client may take to send it."""

    max_bytes: int
    timeout_s: float


def json_response(content: object, status: int = 200) -> Response:
    """A JSON response; numpy arrays and scalars allowed inside."""
    return Response(status, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


class Application:
    """Routes by exact path: a pod serves few paths, and a dictionary finds them fastest.

    Args:
        routes: every path there is.
        limits: bounds on bodies.
        metrics: where to count.
        draining: whether the pod is about to stop; connections are then closed after each answer,
            so that clients move on to another pod before this one's ports close.
    """

    def __init__(
        self,
        routes: Routes,
        limits: BodyLimits,
        metrics: FrontendMetrics,
        draining: Callable[[], bool],
    ) -> None:
        self._routes = routes
        self._limits = limits
        self._metrics = metrics
        self._draining = draining
        self._respond_seconds = metrics.stage("respond")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = headers.get(b"x-request-id") or secrets.token_hex(8).encode()
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        route: Route | None = None
        try:
            found = self._route(method, path)
            if isinstance(found, Response):
                response = found
            else:
                route = found
                body = await self._body(headers, receive)
                response = await route.endpoint(Request(method, path, headers, body))
        except ClientLeftError:
            return
        except PredictorError as error:
            response = error_response(error)
        # What nobody foresaw: the client learns nothing of our insides, the log has the trace.
        except Exception:
            logger.exception("request %s: %s %s failed", request_id.decode("latin-1"), method, path)
            response = json_response({"error": GENERIC_TEXT}, 500)
        if route is not None and route.protocol:
            self._metrics.answered(route.protocol, str(response.status))
        began = time.perf_counter()
        await self._send(response, request_id, method == "HEAD", send)
        self._respond_seconds.observe(time.perf_counter() - began)

    def _route(self, method: str, path: str) -> Route | Response:
        methods = self._routes.get(path)
        if methods is None:
            raise UnknownModelError(unknown_path(path, self._routes))
        route = methods.get("GET" if method == "HEAD" else method)
        if route is not None:
            return route
        allowed = ", ".join(
            sorted({*methods, "OPTIONS"} | ({"HEAD"} if "GET" in methods else set()))
        )
        allow = (b"allow", allowed.encode())
        if method == "OPTIONS":
            return Response(204, b"", headers=(allow,))
        refusal = json_response({"error": f"{method} is not allowed here; use {allowed}"}, 405)
        return replace(refusal, headers=(allow,))

    async def _body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        encoding = headers.get(b"content-encoding", b"identity").lower()
        if encoding != b"identity":
            raise UnsupportedEncodingError(
                f"Content-Encoding {encoding.decode('latin-1')} is not taken"
            )
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.max_bytes:
            raise _too_large(self._limits.max_bytes)
        if not length and b"transfer-encoding" not in headers:
            return b""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._read(receive)
        except TimeoutError:
            raise BodyTimeoutError(
                f"the body did not arrive within {self._limits.timeout_s:g} s (body_timeout_s)"
            ) from None

    async def _read(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limits.max_bytes:
                raise _too_large(self._limits.max_bytes)
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def _send(self, response: Response, request_id: bytes, head: bool, send: Send) -> None:
        headers = [
            (b"content-type", response.content_type),
            (b"content-length", str(len(response.body)).encode()),
            (b"x-request-id", request_id),
            *response.headers,
        ]
        if self._draining():
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if head else response.body})


class ClientLeftError(Exception):
    """The client closed the connection before its body was complete."""


def error_response(error: PredictorError) -> Response:
    """``{"error": …}`` with the status of the one table."""
    response = json_response({"error": client_text(error)}, http_status(error))
    if isinstance(error, BodyTimeoutError):
        return replace(response, headers=((b"connection", b"close"),))
    if isinstance(error, OverloadedError | NotReadyError):
        return replace(response, headers=((b"retry-after", b"%d" % error.retry_after_s),))
    return response


def unknown_path(path: str, routes: Routes) -> str:
    """What to tell a client whose path is not served: most often the model's name is wrong."""
    parts = path.split("/")
    if len(parts) > 3 and parts[2] == "models":
        named = parts[3].partition(":")[0]
        prefix = f"/{parts[1]}/models/{named}"
        if not any(
            known == prefix or known.startswith((prefix + "/", prefix + ":")) for known in routes
        ):
            return f"no model {named!r} here"
        if len(parts) > 5 and parts[4] == "versions":
            return f"no version {parts[5]!r} of model {named!r} here"
    return f"no route {path}"


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is over the limit of {limit} bytes (max_body_bytes)")
