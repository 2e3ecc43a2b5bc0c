"""One image at a time, asked of a version by HTTP; the answer is the label of its first class.

What another version answers is no answer: a gateway that was told of a way knows it a while later.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from analyzer.endpoint import BUSY, reason
from analyzer.endpoint_wire import HEADER_LENGTH, WireError, answers, request
from predictor.observation import PROBE_HEADER
from rollout.errors import ForbiddenError, RolloutError, UnreachableError
from rollout.types import Route

IN_FLIGHT = 2  # requests: a probe takes little of what the clients came for
TIMEOUT_S = 30.0
# What is refused for want of room is asked again so often; then the image stays unanswered.
PAUSES_S = (0.1, 0.5, 1.0, 2.0)
MOST_LOST = 8  # requests in a row that no answer came to: nobody is there


class Asker:
    """Asks one route about images.

    Args:
        route: the version, or the public address.
        wait: how a pause is made; true if the asking ends meanwhile.
    """

    def __init__(self, route: Route, wait: Callable[[float], bool] | None = None) -> None:
        self._route = route
        self._url = f"{route.url.rstrip('/')}/infer"
        self._ended = threading.Event()
        self._wait = wait or self._ended.wait
        self._lost = 0
        self._client = httpx.Client(
            timeout=TIMEOUT_S,
            headers={**route.headers, PROBE_HEADER.decode(): "1"},
            limits=httpx.Limits(max_connections=IN_FLIGHT),
        )
        self._priority = self._lowest_priority()

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._client.close()

    def labels(self, images: Sequence[bytes]) -> list[str | None]:
        """The first class of each image; None where there was no answer to it.

        Raises:
            UnreachableError: nobody is there; or there is no way to the version, which may come.
            ForbiddenError: not for us.
            RolloutError: what is there speaks another language.
        """
        pool = ThreadPoolExecutor(IN_FLIGHT, "probe")
        try:
            return list(pool.map(self._label, images))
        finally:
            self._ended.set()
            pool.shutdown(cancel_futures=True)

    def _label(self, image: bytes) -> str | None:
        for pause_s in (*PAUSES_S, None):
            response = self._post(image)
            if response is not None and response.status_code not in BUSY:
                return self._read(response)
            if pause_s is None or self._wait(pause_s):
                return None
        return None

    def _post(self, image: bytes) -> httpx.Response | None:
        """What came; None if the connection broke."""
        body, headers = request([image], self._priority)
        try:
            response = self._client.post(self._url, content=body, headers=headers)
        except httpx.TransportError as error:
            self._lost += 1
            if self._lost >= MOST_LOST:
                text = str(error) or type(error).__name__
                raise UnreachableError(f"{self._url}: cannot be asked: {text}") from None
            return None
        self._lost = 0
        return response

    def _read(self, response: httpx.Response) -> str | None:
        status = response.status_code
        if response.is_success:
            try:
                found = answers(response.content, response.headers.get(HEADER_LENGTH), 1)
            except WireError as error:
                raise RolloutError(f"{self._url}: {error}") from None
            self._demand_version(_version(response))
            return found.labels[0]
        if status == 404:
            raise UnreachableError(f"{self._no_way}: 404: {reason(response)}")
        if status in (401, 403):
            raise ForbiddenError(f"{self._url}: {status}: {reason(response)}")
        return None

    def _demand_version(self, answered: str) -> None:
        if self._route.version and answered != self._route.version:
            who = f"version {answered} answers" if answered else "what answers says no version"
            raise UnreachableError(f"{self._no_way}: {who}")

    @property
    def _no_way(self) -> str:
        version = f"version {self._route.version}" if self._route.version else "the model"
        return f"{self._url}: there is no way to {version} yet"

    def _lowest_priority(self) -> int:
        """The level that waits for all others; 0 where there is one level, or it is not said."""
        try:
            found = self._client.get(f"{self._route.url.rstrip('/')}/config")
            levels = found.json()["dynamic_batching"]["priority_levels"]
            return int(levels) if int(levels) > 1 else 0
        except (httpx.TransportError, ValueError, KeyError, TypeError):
            return 0
        except httpx.InvalidURL as error:
            raise RolloutError(f"{self._route.url}: is no address: {error}") from None


def _version(response: httpx.Response) -> str:
    """Which version says that it answers; empty if it does not say."""
    length = int(response.headers.get(HEADER_LENGTH) or len(response.content))
    return str(json.loads(response.content[:length]).get("model_version") or "")
