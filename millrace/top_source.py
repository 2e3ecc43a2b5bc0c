"""Asks pods for their stages: once, or again and again in the background."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from millrace.top_report import Sight, StagesReport, one_line, read_report

TIMEOUT_S = 3.0  # a pod that is busy answers in milliseconds; one that takes seconds is not well
MAX_BODY_BYTES = 1 << 20  # a report is a few kilobytes
MAX_TEXT = 300  # characters of a server's error text that are shown


class PodError(Exception):
    """The pod gave no report; the text is one line that says why and what to do."""


@dataclass(frozen=True, slots=True)
class Pod:
    """Where to ask, and for what.

    Args:
        url: of the pod, with or without a path before ``/v2``.
        model: its name; None is the only one that the pod has.
        version: of the model; None is the one that is served.
    """

    url: str
    model: str | None = None
    version: str | None = None


def ask(pod: Pod) -> str:
    """The body of the pod's stages: JSON, and not looked at further.

    Raises:
        PodError: no answer, or another one.
    """
    model = pod.model or _only_model(pod)
    path = f"/v2/models/{quote(model, safe='')}"
    if pod.version is not None:
        path += f"/versions/{quote(pod.version, safe='')}"
    return _get(pod, f"{path}/stages")


def ask_report(pod: Pod) -> StagesReport:
    """The pod's stages.

    Raises:
        PodError: as ``ask``, or the answer is no report.
    """
    body = ask(pod)
    try:
        return read_report(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its top"
        raise PodError(
            f"{pod.url}: this is not the stages of a pod that this millrace knows: "
            f"{one_line(where)}: {one_line(first['msg'])}"
        ) from error


def _only_model(pod: Pod) -> str:
    try:
        models = json.loads(_get(pod, "/v2/models"))["models"]
        names = [name for name in models if isinstance(name, str)]
    except (KeyError, TypeError) as error:
        raise PodError(f"{pod.url}: /v2/models lists no models: is it a Millrace pod?") from error
    if len(names) == 1:
        return names[0]
    if not names:
        raise PodError(f"{pod.url}: the pod has no model yet: load one, or wait")
    listed = one_line(", ".join(names))
    raise PodError(f"{pod.url}: the pod has several models: say --model, one of {listed}")


def _get(pod: Pod, path: str) -> str:
    parts = urlsplit(pod.url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", parts.path.rstrip("/") + path)
            # Closed by itself: a connection that the server ends is the response's alone.
            with connection.getresponse() as response:
                body = response.read(MAX_BODY_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException, UnicodeError) as error:  # the last: no host name
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise PodError(
            f"{pod.url}: no answer ({one_line(reason)}): "
            "start the pod (millrace serve), or say where it is (--url)"
        ) from error
    said = _json(body)
    if response.status == http.client.OK and said is not None:
        return body
    raise PodError(f"{pod.url}: {_refusal(response.status, said, path)}")


def _json(body: str) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _refusal(status: int, said: object, path: str) -> str:
    if isinstance(said, dict) and isinstance(said.get("error"), str):
        text = one_line(said["error"])[:MAX_TEXT]
        hint = ": see --model and --version" if status == http.client.NOT_FOUND else ""
        return f"{text} ({status}){hint}"
    if status == http.client.OK:
        return f"{path} gave no JSON: is it a Millrace pod?"
    return f"{path} gave {status}: is it a Millrace pod, of this release?"


class Watch:
    """Asks each pod once an interval, in a thread of its own: none waits for another that hangs.

    ``news`` is set whenever one of them has answered, or has not.
    """

    def __init__(self, pods: Sequence[Pod], interval_s: float) -> None:
        self.news = threading.Event()
        self._pods = tuple(pods)
        self._interval_s = interval_s
        self._stopped = threading.Event()
        # One writer for each place: the pod's thread.
        self._sights = [Sight(pod.url) for pod in self._pods]
        self._answered_at: list[float | None] = [None] * len(self._pods)

    def __enter__(self) -> Self:
        for place in range(len(self._pods)):
            # Daemons: one that waits for a hung pod must not keep the user from leaving.
            threading.Thread(target=self._run, args=(place,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()

    def sights(self) -> list[Sight]:
        """What is known of each pod now, in the order given."""
        return list(self._sights)

    def _run(self, place: int) -> None:
        while not self._stopped.is_set():
            self._sights[place] = self._look(place)
            self.news.set()
            self._stopped.wait(self._interval_s)

    def _look(self, place: int) -> Sight:
        pod, answered_at = self._pods[place], self._answered_at[place]
        try:
            report = ask_report(pod)
        except PodError as error:
            silent_s = None if answered_at is None else time.monotonic() - answered_at
            return Sight(pod.url, problem=str(error), silent_s=silent_s)
        self._answered_at[place] = time.monotonic()
        return Sight(pod.url, report)
