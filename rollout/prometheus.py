"""Counts requests by asking Prometheus, which has been scraping the pods."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from model_store.registry.address import shown
from rollout.errors import ForbiddenError, RolloutError, UnreachableError
from rollout.growth import REQUESTS, SECONDS_BUCKET, Reading, Series
from rollout.tally import Tallies
from rollout.types import Traffic

TIMEOUT_S = 30.0
# Twice the usual longest scrape interval, and some: what is older says nothing of now.
STALE_S = 150.0
MARGIN_S = 5.0  # clocks of two machines differ by less
NOT_OF_A_POD = ("__name__", "protocol", "code", "le")
POD = ("namespace", "pod")


class PrometheusMeter:
    """A meter that reads what Prometheus has, or whatever speaks its HTTP API.

    It asks for the samples themselves and adds up by how much counters grew between two of them.
    ``increase()`` would not do: it reckons with what may have been before the first sample and
    after the last one, and proofs need requests that were seen. Each sample is fetched once.

    Args:
        url: of its API, ``http://HOST:PORT`` or with a path before ``/api/v1``; a name and password
            in it are told to nobody.
        model: the name that it is served under.
        namespace: of the pods; empty: not told apart by it.
        token_file: a file with a bearer token, read at each request, since tokens are renewed.
        clock: seconds of the epoch.

    Raises:
        RolloutError: the address is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        namespace: str = "",
        token_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            there = url.rpartition("@")[2]
            raise RolloutError(f"{there!r} is no address of Prometheus: http://HOST:PORT")
        self._url = url.rstrip("/")
        self._shown = shown(self._url)  # errors are kept in the state, and shown to everybody
        self._model = model
        self._namespace = namespace
        self._token_file = token_file
        self._clock = clock
        self._tallies = Tallies()
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def traffic(self, version: str, since: float) -> Traffic:
        """What became of the version's requests since ``since``; see ``Meter``.

        Raises:
            UnreachableError: Prometheus does not answer, or has nothing new of the version.
            ForbiddenError: it does not answer us.
            RolloutError: it does not understand the question; with its own words.
        """
        now = self._clock()
        tally = self._tallies.of(version, since)
        if self._tallies.needs_look(version, now):
            # Back to what is known; and at least so far that a pod which is scraped shows.
            begin = min(max(since, tally.newest or since), now - STALE_S)
            samples = self._samples(now - begin + MARGIN_S)
            self._tallies.looked(self._clock(), _readings(samples), begin)
        newest = tally.newest
        if newest is None or newest < now - STALE_S:
            raise UnreachableError(self._silence(version, newest, now))
        return tally.traffic(now)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _samples(self, window_s: float) -> list[Any]:
        names = f'__name__=~"{REQUESTS}|{SECONDS_BUCKET}"'
        return self._ask(f"{{{names},{self._of()}}}[{math.ceil(window_s)}s]")

    def _silence(self, version: str, newest: float | None, now: float) -> str:
        """Why nothing is known: that there are no samples does not say that nobody asked."""
        where = f" in namespace {self._namespace}" if self._namespace else ""
        what = f"{self._shown}: has nothing of version {version} of {self._model}{where}"
        if newest is not None:
            what += f" since {now - newest:.0f} s"
        if self._namespace:
            down = self._ask(f"count(up{{namespace={json.dumps(self._namespace)}}} == 0)")
            if down:
                return f"{what}; {down[0]['value'][1]} targets there are down (`up == 0`)"
        found = self._ask(f"count by (version) ({REQUESTS}{{{self._of()}}})")
        versions = ", ".join(sorted(str(each["metric"].get("version", "")) for each in found))
        there = f"there is version {versions}" if versions else "nor of any other"
        return f"{what} ({there}); are its pods scraped?"

    def _of(self) -> str:
        """The labels of what is the model's."""
        wanted = {"model": self._model}
        if self._namespace:
            wanted["namespace"] = self._namespace
        return ",".join(f"{name}={json.dumps(value)}" for name, value in wanted.items())

    def _ask(self, query: str) -> list[Any]:
        """The result of an instant query.

        Raises:
            UnreachableError, ForbiddenError, RolloutError: as ``traffic``.
        """
        try:
            answer = self._client.post(
                f"{self._url}/api/v1/query", data={"query": query}, headers=self._headers()
            )
            told = answer.json() if "json" in answer.headers.get("content-type", "") else None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = str(error) or type(error).__name__
            raise UnreachableError(f"{self._shown}: Prometheus cannot be asked: {text}") from None
        except ValueError:
            told = None
        if not answer.is_success or not isinstance(told, dict) or told.get("status") != "success":
            raise self._problem(answer, told)
        found = told["data"]["result"]
        if not isinstance(found, list):
            raise RolloutError(f"{self._shown}: is no Prometheus: {query} gives {found!r}")
        return found

    def _headers(self) -> dict[str, str]:
        if self._token_file is None:
            return {}
        try:
            token = self._token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RolloutError(f"{self._token_file}: the token cannot be read: {error}") from None
        return {"Authorization": f"Bearer {token}"}

    def _problem(self, answer: httpx.Response, told: Any) -> RolloutError:
        status = answer.status_code
        said = told.get("error") if isinstance(told, dict) else " ".join(answer.text.split())[:200]
        text = f"{self._shown}: {status}: {said or answer.reason_phrase}"
        if status in (401, 403):
            return ForbiddenError(f"{text}; give a file with a token that may query Prometheus")
        if status >= 500 or status == 429:
            return UnreachableError(text)
        if told is None:
            return RolloutError(f"{text}; is it the address of Prometheus' HTTP API?")
        return RolloutError(text)


def _readings(result: list[Any]) -> dict[str, list[Reading]]:
    """By version, in order: the series that one scraper found at one pod at one time."""
    scrapes: dict[tuple[str, str, str, float], dict[Series, float]] = {}
    for each in result:
        labels: Mapping[str, str] = each["metric"]
        series, version = Series.of(labels["__name__"], labels), labels.get("version", "")
        pod, scraper = _whose(labels)
        for at, value in each["values"]:
            number = float(value)
            if math.isfinite(number):
                scrapes.setdefault((version, pod, scraper, float(at)), {})[series] = number
    found: dict[str, list[Reading]] = {}
    for version, pod, scraper, at in sorted(scrapes):
        values = scrapes[version, pod, scraper, at]
        found.setdefault(version, []).append(Reading(pod, at, values, scraper))
    return found


def _whose(labels: Mapping[str, str]) -> tuple[str, str]:
    """Whose counter it is, and who looked, such as one of two jobs or replicas.

    On a cluster a pod is known by its name; elsewhere what is looked at otherwise is another one.
    """
    scraper = {name: value for name, value in labels.items() if name not in NOT_OF_A_POD}
    pod = {name: labels.get(name, "") for name in POD} if labels.get("pod") else scraper
    return json.dumps(pod, sort_keys=True), json.dumps(scraper, sort_keys=True)
