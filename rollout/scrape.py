"""Counts requests by asking pods for their metrics; for pods that can be reached from here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from model_store.registry.address import shown
from rollout.errors import UnreachableError
from rollout.growth import REQUESTS, SECONDS_BUCKET, Reading, Series
from rollout.tally import Tallies
from rollout.types import Traffic

TIMEOUT_S = 10.0


class ScrapeMeter:
    """A meter that looks at ``/metrics`` of every pod, each time that it is asked.

    What was before the first look after ``since`` is not counted: a rollout that goes on after it
    was killed counts from then.

    Args:
        pods: their addresses, ``http://HOST:PORT``.
        model: the name that it is served under.
        clock: seconds of the epoch.
    """

    def __init__(
        self, pods: Sequence[str], model: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._pods = [pod.rstrip("/") for pod in pods]
        self._model = model
        self._clock = clock
        self._tallies = Tallies()
        self._client = httpx.Client(timeout=TIMEOUT_S)

    def traffic(self, version: str, since: float) -> Traffic:
        """What became of the version's requests since ``since``; see ``Meter``.

        Raises:
            UnreachableError: a pod does not answer, or its answer tells nothing.
        """
        tally = self._tallies.of(version, since)
        now = self._clock()
        if self._tallies.needs_look(version, now):
            readings = self._look()
            self._tallies.looked(self._clock(), readings)
        return tally.traffic(now)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def _look(self) -> dict[str, list[Reading]]:
        """One reading of every pod, of all versions that any of them knows."""
        at = self._clock()
        found = {pod: self._counters(pod) for pod in self._pods}
        versions = {version for each in found.values() for version in each}
        return {
            version: [Reading(pod, at, each.get(version, {})) for pod, each in found.items()]
            for version in versions
        }

    def _counters(self, pod: str) -> dict[str, dict[Series, float]]:
        try:
            answer = self._client.get(f"{pod}/metrics")
            answer.raise_for_status()
            return counters(answer.text, self._model)
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            raise UnreachableError(
                f"{shown(pod)}/metrics: {status}; is it a pod of Millrace?"
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UnreachableError(f"{shown(pod)}/metrics: cannot be asked: {error}") from None
        except ValueError as error:
            raise UnreachableError(
                f"{shown(pod)}/metrics: are no Prometheus metrics: {error}"
            ) from None


def counters(text: str, model: str) -> dict[str, dict[Series, float]]:
    """The counters of ``model`` by version, out of Prometheus' text format.

    Raises:
        ValueError: it is none.
    """
    found: dict[str, dict[Series, float]] = {}
    for sample in _samples(text):
        labels = sample.labels
        if labels.get("model") == model and "version" in labels and math.isfinite(sample.value):
            series = Series.of(sample.name, labels)
            found.setdefault(labels["version"], {})[series] = sample.value
    return found


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in (REQUESTS, SECONDS_BUCKET):
                yield sample
