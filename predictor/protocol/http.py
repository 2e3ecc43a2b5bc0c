"""HTTP for the predictor's routes, as a bare ASGI application.

It stands where KServe's FastAPI routes would: those turn a JPEG into a Python list of numbers and
cost more than the inference of a small network (docs/architecture.md has the figures).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import orjson

from predictor.errors import (
    NotReadyError,
    OverloadedError,
    PredictorError,
    StoppingError,
    UnauthorizedError,
    UnknownModelError,
    UnsupportedEncodingError,
)
from predictor.observation import PROBE, PROBE_HEADER, Observation
from predictor.observer import Observer
from predictor.protocol import compression
from predictor.protocol.body import Bodies, BodyLimits, ClientLeftError, Receive, Share
from predictor.protocol.cors import Cors
from predictor.protocol.cycle import CLOSE
from predictor.protocol.request_id import request_id
from predictor.protocol.status import GENERIC_TEXT, client_text, http_status

logger = logging.getLogger(__name__)

Scope: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]

JSON = b"application/json"  # no charset: KServe's client compares exactly
IMAGES = "images"  # in a scope's state: how many of the request's were answered
CLIENT_LEFT = "the client left"  # the message with which a request is cancelled when it did


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request with its whole body; what its route learns of it goes to ``observation``."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]  # names in lower case
    body: bytes
    observation: Observation


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: tuple[Header, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """What answers one method of one path.

    Attributes:
        endpoint: answers.
        protocol: requests of a route that has one are observed.
        version: that its path names, if it names one.
        foresee: refuses by the headers, before the body is read; what it raises is answered.
    """

    endpoint: Callable[[Request], Awaitable[Response]]
    protocol: str | None = None
    foresee: Callable[[Mapping[bytes, bytes]], None] | None = None
    version: str = ""


Routes: TypeAlias = Mapping[str, Mapping[str, Route]]  # path → method → route


@dataclass(slots=True)
class Call:
    """One request under way: what is known of it before its body."""

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    observation: Observation

    @classmethod
    def of(cls, scope: Scope) -> Call:
        """Out of an ASGI scope, as it arrives."""
        began_ns = time.monotonic_ns()
        headers = joined(scope["headers"])
        method, path = scope["method"], scope["path"].rstrip("/") or "/"
        observation = Observation(
            protocol="",
            operation=f"{method} {path}",
            request_id=request_id(headers.get(b"x-request-id", b"").decode("latin-1")),
            traceparent=headers.get(b"traceparent", b"").decode("latin-1"),
            began_ns=began_ns,
        )
        return cls(method, path, headers, observation)

    def expected_at(self, route: Route) -> None:
        """Its route is known, and so what it is counted as, whatever becomes of it."""
        self.observation.version = route.version
        self.observation.protocol = route.protocol or ""
        if route.protocol and PROBE_HEADER in self.headers:
            self.observation.protocol = PROBE

    def request(self, body: bytes) -> Request:
        """As its route gets it."""
        self.observation.read_ns = time.monotonic_ns()
        return Request(self.method, self.path, self.headers, body, self.observation)


def joined(headers: Sequence[Header]) -> dict[bytes, bytes]:
    """Headers by name; one that was sent in several lines is one list (RFC 9110, 5.2)."""
    found = dict(headers)
    if len(found) < len(headers):
        found = {}
        for name, value in headers:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def json_response(content: object, status: int = 200) -> Response:
    """A JSON response; numpy arrays and scalars allowed inside."""
    return Response(status, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


class Application:
    """Routes by exact path: a pod serves few paths, and a dictionary finds them fastest.

    Args:
        routes: every path there is; set anew when they change.
        limits: bounds on bodies; their time is kept by the ``connection.Connection``.
        observer: told of every request of a route with a protocol.
        draining: whether the pod is about to stop; connections are then closed after each answer,
            so that clients move on to another pod before this one's ports close.
        cors: the web pages that may call; None: none.
    """

    def __init__(
        self,
        routes: Routes,
        limits: BodyLimits,
        observer: Observer,
        draining: Callable[[], bool],
        cors: Cors | None = None,
    ) -> None:
        self.routes = routes
        self._bodies = Bodies(limits, observer)
        self._observer = observer
        self._draining = draining
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if scope["type"] != "http":
            return
        call = Call.of(scope)
        response = await self._answer(call, receive)
        scope.setdefault("state", {})[IMAGES] = call.observation.answered
        try:
            await self._send(call, response, send)
        finally:
            self._finished(call, response)

    async def _answer(self, call: Call, receive: Receive) -> Response:
        """Have the request answered by its route, or refused; nothing is raised."""
        share = Share(self._bodies)
        try:
            found = self._route(call.method, call.path)
            if isinstance(found, Response):
                return found
            call.expected_at(found)
            if found.foresee is not None:
                found.foresee(call.headers)
            body = await self._bodies.read(call.headers, receive, share)
            return await found.endpoint(call.request(body))
        except PredictorError as error:
            call.observation.error = client_text(error)
            return error_response(error)
        except ClientLeftError:
            return NOBODY_LISTENS
        # The request ends here, and with it the task: there is nothing left to cancel.
        except asyncio.CancelledError as cancelled:
            return NOBODY_LISTENS if cancelled.args == (CLIENT_LEFT,) else STOPPING
        # What nobody foresaw: the client learns nothing of our insides, the log has the trace.
        except Exception:
            observation = call.observation
            observation.error = GENERIC_TEXT
            logger.exception("request %s: %r failed", observation.request_id, observation.operation)
            return json_response({"error": GENERIC_TEXT}, 500)
        finally:
            share.cover(0)

    def _route(self, method: str, path: str) -> Route | Response:
        methods = self.routes.get(path)
        if methods is None and (method, path) == ("OPTIONS", "*"):  # of the server as a whole
            methods = dict(chain.from_iterable(each.items() for each in self.routes.values()))
        if methods is None:
            raise UnknownModelError(unknown_path(path, self.routes))
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

    async def _send(self, call: Call, response: Response, send: Send) -> None:
        if (accept := call.headers.get(b"accept-encoding")) and _worth_encoding(call, response):
            response = await encoded(response, accept)
        if self._cors is not None:
            methods = dict(response.headers).get(b"allow", b"") if call.method == "OPTIONS" else b""
            response = with_headers(response, self._cors.headers(call.headers, methods))
        headers = [(b"x-request-id", call.observation.request_id.encode()), *response.headers]
        if response.status != 204:  # which has no body to describe
            headers.append((b"content-type", response.content_type))
            headers.append((b"content-length", b"%d" % len(response.body)))
        if self._draining():
            headers.append(CLOSE)
        body = b"" if call.method == "HEAD" else response.body
        call.observation.rendered_ns = time.monotonic_ns()
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _finished(self, call: Call, response: Response) -> None:
        """A request is over, whichever way: every one comes by here, once."""
        observation = call.observation
        if observation.protocol:
            observation.code = str(response.status)
            if response is NOBODY_LISTENS:
                observation.error = CLIENT_LEFT
            self._observer.finished(observation)


NOBODY_LISTENS = Response(499, b"")  # nginx's code for a client that left; only ever counted


def error_response(error: PredictorError) -> Response:
    """``{"error": …}`` with the status of the one table."""
    response = json_response({"error": client_text(error)}, http_status(error))
    headers: tuple[Header, ...] = ()
    if isinstance(error, OverloadedError | NotReadyError):
        headers = ((b"retry-after", b"%d" % error.retry_after_s),)
    elif isinstance(error, UnsupportedEncodingError):
        headers = ((b"accept-encoding", b"gzip, deflate"),)
    elif isinstance(error, UnauthorizedError):
        headers = ((b"www-authenticate", b"Bearer"),)
    return replace(response, headers=headers)


STOPPING = error_response(StoppingError())


def _worth_encoding(call: Call, response: Response) -> bool:
    """Only inference and the metrics: Triton's aio client always asks, and reads no others."""
    inference = bool(call.observation.protocol)
    return response.status == 200 and (inference or response.content_type != JSON)


async def encoded(response: Response, accept: bytes) -> Response:
    """``response`` in the content coding that an Accept-Encoding prefers."""
    body, coding = await compression.encode(response.body, accept)
    if coding == compression.IDENTITY:
        return response
    added = ((b"content-encoding", coding.encode()), (b"vary", b"accept-encoding"))
    return with_headers(replace(response, body=body), added)


def with_headers(response: Response, added: tuple[Header, ...]) -> Response:
    """``response`` with more headers; all that it varies by stands in one of them."""
    headers = (*response.headers, *added)
    vary = [value for name, value in headers if name == b"vary"]
    if len(vary) > 1:
        others = tuple(header for header in headers if header[0] != b"vary")
        headers = (*others, (b"vary", b", ".join(vary)))
    return replace(response, headers=headers)


def unknown_path(path: str, routes: Routes) -> str:
    """What to tell a client whose path is not served: most often the model's name is wrong."""
    parts = path.split("/")
    if len(parts) > 4 and parts[2:4] == ["repository", "models"]:
        return f"no model {parts[4]!r} here"
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
