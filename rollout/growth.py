"""Counters of a pod as they were read, and by how much they grew from one reading to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

REQUESTS = "millrace_requests_total"
SECONDS_BUCKET = "millrace_request_seconds_bucket"

# After a restart less than this share is left of what stood there. Counters also fall by what a
# reading was late, where replicas of Prometheus are queried as one: by less than half once a pod is
# older than twice the delay.
RESTARTED = 0.5


@dataclass(frozen=True, slots=True)
class Series:
    """One counter of one version at one pod.

    Attributes:
        name: ``REQUESTS`` or ``SECONDS_BUCKET``.
        protocol: of the requests; empty for a bucket.
        code: an HTTP status or a gRPC code's name; empty for a bucket.
        edge_s: a bucket's upper edge; it counts all requests up to there.
    """

    name: str
    protocol: str = ""
    code: str = ""
    edge_s: float = math.inf

    @classmethod
    def of(cls, name: str, labels: Mapping[str, str]) -> Series:
        """By a metric's name and labels."""
        if name == SECONDS_BUCKET:
            return cls(name, edge_s=float(labels["le"]))
        return cls(name, labels.get("protocol", ""), labels.get("code", ""))


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one version at one pod, at one time, as one scraper found them.

    Attributes:
        pod: whose; counters of different pods are added up.
        at: seconds of the epoch.
        values: by series. One that is missing is not known to have changed; where there is none at
            all the pod has nothing of the version.
        scraper: who looked; what several have seen of one pod is the same requests.
    """

    pod: str
    at: float
    values: Mapping[Series, float]
    scraper: str = ""


class Growth:
    """By how much the counters of one pod grew in the eyes of one scraper, since its first reading.

    A series that is seen for the first time has grown from zero: a code that nobody had been
    answered yet. One that falls by itself was read late, and stands; where the pod was started
    again they fall together, and all count from zero.

    Attributes:
        first: when the first reading was made, seconds of the epoch.
        last: the newest one.
    """

    def __init__(self, reading: Reading) -> None:
        self.first = self.last = reading.at
        self._further = 0  # readings since the first
        self._values = dict(reading.values)
        self._grown = dict.fromkeys(reading.values, 0.0)

    def add(self, reading: Reading) -> None:
        """Take the next reading; one that is no newer than the last is left."""
        if reading.at <= self.last:
            return
        self.last = reading.at
        self._further += 1
        if self._restarted(reading.values):
            self._values = {}
        for series, now in reading.values.items():
            before = self._values.get(series, 0.0)
            self._grown[series] = self._grown.get(series, 0.0) + max(now - before, 0.0)
            self._values[series] = max(now, before)

    @property
    def interval_s(self) -> float:
        """Seconds from one reading to the next, on the average; 0 of a single one."""
        return (self.last - self.first) / self._further if self._further else 0.0

    def of(self, name: str) -> dict[Series, float]:
        """How much each series of that name has grown."""
        return {series: grown for series, grown in self._grown.items() if series.name == name}

    def _restarted(self, values: Mapping[Series, float]) -> bool:
        known = self._values.keys() & values.keys()
        before = sum(self._values[series] for series in known)
        return not values or sum(values[series] for series in known) < before * RESTARTED
