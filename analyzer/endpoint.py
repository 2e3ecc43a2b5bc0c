"""A running endpoint, asked over the v2 protocol with several requests in flight."""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import httpx
import numpy as np
from PIL import Image as PillowImage

from analyzer.endpoint_wire import HEADER_LENGTH, WireAnswers, WireError, answers, request
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.result import ModelFacts
from analyzer.run_model import Block, Read, no_answers
from predictor.types import Image

URL = re.compile(r"https?://[^/]+/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?")
IN_FLIGHT = 8  # requests
MOST_IMAGES = 16  # of a request
TIMEOUT_S = 60.0
# A pod that refuses for want of room, or is just restarting, is asked again this often.
TRIES, LONGEST_PAUSE_S = 30, 2.0
LOOKS, LOOK_EVERY_S = 12, 0.25
BUSY = (429, 502, 503, 504)
BAD_REQUEST, TOO_LARGE, SERVER_FAILED = 400, 413, 500
MOST_FAILED = 32  # images in a row, each by itself: it is the server then, and none of them


class EndpointModel:
    """One model behind ``http://host:port/v2/models/NAME``.

    Args:
        name: in the report; empty for the model's own.
        url: of the model.
        labels: by class index; empty: they are learnt from answers.

    Raises:
        AnalyzerError: the address is none, or there is no such model.
    """

    def __init__(self, name: str, url: str, labels: Sequence[str] = ()) -> None:
        match = URL.fullmatch(url.rstrip("/"))
        if match is None:
            raise AnalyzerError(f"{url}: name the model as http://HOST:PORT/v2/models/NAME")
        self.url = url.rstrip("/")
        self.name = name or match["name"]
        self._client = httpx.Client(
            timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=IN_FLIGHT)
        )
        self._given = tuple(labels)
        self._learnt: dict[int, str] = {}
        self._learning = threading.Lock()
        self._failed = 0  # images since the last answer
        self._ended = threading.Event()
        try:
            self._metadata = self.get("")
            self._config = self.get("/config", optional=True)
            self._top_k = _top_k(self._metadata)
        except AnalyzerError:
            self.close()
            raise
        self._images = max(1, min(MOST_IMAGES, int(self._config.get("max_batch_size") or 1)))
        self._version = match["version"] or _newest(self._metadata)

    @property
    def identity(self) -> str:
        """What it says of itself; a model that is changed under the same version looks alike."""
        graph = self._config.get("default_model_filename")  # which variant a pod chose
        text = json.dumps([self.url, self._metadata, graph], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def labels(self) -> tuple[str, ...]:
        """By class index, as far as they were given or learnt."""
        if self._given:
            return self._given
        count = max(self._learnt, default=-1) + 1
        return tuple(self._learnt.get(index, f"class {index}") for index in range(count))

    @property
    def nameless(self) -> tuple[str, ...]:
        """Those of ``labels`` that stand for classes which no answer has named."""
        if self._given:
            return ()
        return tuple(label for index, label in enumerate(self.labels) if index not in self._learnt)

    @property
    def top_k(self) -> int:
        """Classes in an answer."""
        return self._top_k

    @property
    def learnt(self) -> dict[int, str]:
        """Labels that answers have had so far, by class index."""
        return dict(self._learnt)

    def learn(self, labels: Mapping[int, str]) -> None:
        """Labels that answers have, or had earlier.

        Raises:
            AnalyzerError: they are not those that were given.
        """
        for index, label in labels.items() if self._given else ():
            if index >= len(self._given):
                raise AnalyzerError(
                    f"{self.url}: answers class {index}, {label!r}, and --labels names "
                    f"{len(self._given)} classes; give the model's own labels, or none"
                )
            if self._given[index] != label:
                raise AnalyzerError(
                    f"{self.url}: class {index} is {label!r} in answers and "
                    f"{self._given[index]!r} in --labels; give the model's own labels, or none"
                )
        with self._learning:
            self._learnt.update(labels)

    def facts(self) -> ModelFacts:
        """For the report."""
        return ModelFacts(
            name=self.name,
            source=self.url,
            version=self._version,
            variant=None,
            precision=None,
            sha256=None,
            labels=self.labels,
            input="encoded images over HTTP",
            size_bytes=None,
        )

    def get(self, path: str, *, optional: bool = False) -> dict[str, Any]:
        """What the endpoint says under the model's address; empty where it has no such page.

        Raises:
            AnalyzerError: it cannot be reached, or has no such model.
        """
        try:
            response = self._client.get(self.url + path)
            found = response.json() if response.is_success else {}
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise AnalyzerError(f"{self.url}: cannot be asked: {error}") from None
        if not response.is_success and not optional:
            raise AnalyzerError(f"{self.url}: {response.status_code}: {reason(response)}")
        return found if isinstance(found, dict) else {}

    def stages(self) -> dict[str, Any]:
        """What a pod of Millrace says of its stages; empty for others.

        A pod counts four times a second, so what it has just done shows a little later.
        """
        found: dict[str, Any] = {}
        for _ in range(LOOKS):
            found = self.get("/stages", optional=True)
            if not found or found.get("bottleneck") is not None:
                break
            time.sleep(LOOK_EVERY_S)
        return found

    def open(self) -> None:
        """Nothing is loaded here."""

    def classify(
        self, numbers: Sequence[int], read: Read, answered: Callable[[Block], None]
    ) -> None:
        """Classify images; see ``Model``."""
        self._ended.clear()
        self._failed = 0
        pool = ThreadPoolExecutor(IN_FLIGHT, "endpoint")
        try:
            flying: set[Future[list[Block]]] = set()
            for part in _parts(numbers, self._images):
                if len(flying) >= 2 * IN_FLIGHT:
                    done, flying = wait(flying, return_when=FIRST_COMPLETED)
                    _tell(done, answered)
                flying.add(pool.submit(self._answered, part, read))
            _tell(wait(flying).done, answered)
        finally:
            self._ended.set()  # whoever waits to ask again need not
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _answered(self, numbers: Sequence[int], read: Read) -> list[Block]:
        images: list[bytes] = []
        good: list[int] = []
        errors: dict[int, str] = {}
        for number in numbers:
            try:
                images.append(_encoded(read(number)))
                good.append(number)
            except BrokenImageError as error:
                errors[number] = str(error)
        blocks = self._ask(good, images) if good else []
        if errors:
            blocks.append(no_answers(tuple(errors), self._top_k, errors))
        return blocks

    def _ask(self, numbers: Sequence[int], images: Sequence[bytes]) -> list[Block]:
        """One request; where it is refused for an image, each half by itself."""
        response = self._post(images)
        if response.is_success:
            try:
                found = answers(response.content, response.headers.get(HEADER_LENGTH), len(images))
            except WireError as error:
                raise AnalyzerError(f"{self.url}: {error}") from None
            return [self._block(numbers, found)]
        if response.status_code not in (BAD_REQUEST, TOO_LARGE, SERVER_FAILED):
            raise AnalyzerError(f"{self.url}: {response.status_code}: {reason(response)}")
        if len(images) == 1:
            return [self._failure(numbers[0], response)]
        middle = len(images) // 2
        first = self._ask(numbers[:middle], images[:middle])
        return first + self._ask(numbers[middle:], images[middle:])

    def _post(self, images: Sequence[bytes]) -> httpx.Response:
        body, headers = request(images)
        problem = ""
        for number in range(TRIES):
            try:
                response = self._client.post(f"{self.url}/infer", content=body, headers=headers)
            except httpx.TransportError as error:
                problem = f"cannot be asked: {error}"
            else:
                if response.status_code not in BUSY:
                    return response
                problem = f"{response.status_code}: {reason(response)}"
            if self._ended.wait(min(LONGEST_PAUSE_S, 0.05 * 2**number)):
                break
        raise AnalyzerError(f"{self.url}: {problem}")

    def _failure(self, number: int, response: httpx.Response) -> Block:
        """An image that is refused by itself; for good only where the image is to blame."""
        passing = response.status_code == SERVER_FAILED
        with self._learning:
            self._failed += passing
            if self._failed >= MOST_FAILED:
                raise AnalyzerError(
                    f"{self.url}: fails on every image, {MOST_FAILED} in a row: "
                    f"{response.status_code}: {reason(response)}; see its log, and run this again"
                )
        return no_answers((number,), self._top_k, {number: reason(response)}, passing=passing)

    def _block(self, numbers: Sequence[int], found: WireAnswers) -> Block:
        places = found.indices.ravel().tolist()
        if min(places) < 0:
            raise AnalyzerError(f"{self.url}: answers class {min(places)}, which is none")
        self.learn(dict(zip(places, found.labels, strict=True)))
        self._failed = 0
        return Block(np.array(numbers, np.int64), found.indices, found.scores)


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(numbers), size):
        yield numbers[first : first + size]


def _tell(done: set[Future[list[Block]]], answered: Callable[[Block], None]) -> None:
    for future in done:
        for block in future.result():
            answered(block)


def _encoded(image: Image) -> bytes:
    if not isinstance(image, np.ndarray):
        return bytes(image)
    stream = io.BytesIO()
    PillowImage.fromarray(image).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def reason(response: httpx.Response) -> str:
    """What a server says of its refusal: the error of its JSON, or the beginning of its text."""
    try:
        return str(response.json()["error"])
    except (ValueError, KeyError, TypeError):
        return " ".join(response.text.split())[:200]


def _top_k(metadata: Mapping[str, Any]) -> int:
    for output in metadata.get("outputs", ()):
        if output.get("name") == "indices":
            return max(1, int(output["shape"][-1]))
    raise AnalyzerError(
        f"{metadata.get('name')}: has no output `indices`; what Millrace serves can be asked"
    )


def _newest(metadata: Mapping[str, Any]) -> str:
    versions = [str(version) for version in metadata.get("versions") or ()]
    return max(versions, key=lambda each: (len(each), each), default="")
