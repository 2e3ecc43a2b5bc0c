"""What counters of pods have grown by since a moment. Pure: it knows no network and no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from predictor.observation import PROBE
from rollout.types import Traffic

FRESH_S = 0.2  # whoever compares versions asks for one right after the other
REQUESTS = "millrace_requests_total"
SECONDS_BUCKET = "millrace_request_seconds_bucket"

# For want of room or time; nothing was wrong with the version that was asked.
REJECTED = frozenset(
    ("429", "503", "504", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
)
_FAILED = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"))


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
    """All counters of one version at one pod, at one time.

    Attributes:
        pod: whose; counters of different pods are added up.
        at: seconds of the epoch.
        values: by series; one that is missing is taken for zero.
    """

    pod: str
    at: float
    values: Mapping[Series, float]


@dataclass(slots=True)
class _Pod:
    """Where the counters of one pod stand, and by how much each has grown."""

    first: float
    last: float
    values: dict[Series, float]
    grown: dict[Series, float] = field(default_factory=dict)


class Tally:
    """Adds up by how much a version's counters grow after ``since``, seconds of the epoch.

    A pod's first reading after ``since`` is where its counting begins: what was earlier may have
    been with other shares, and what stands in a counter whose past is unknown may be days old. A
    counter that falls, or is gone, was restarted with its pod and counts from zero.

    Attributes:
        newest: when the newest reading was made, also if it was before ``since``; None for none.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.newest: float | None = None
        self._pods: dict[str, _Pod] = {}

    def add(self, reading: Reading) -> None:
        """Take one reading; those of a pod in the order of their times, and older ones are left."""
        self.newest = max(reading.at, self.newest or reading.at)
        if reading.at < self.since:
            return
        pod = self._pods.get(reading.pod)
        if pod is None:
            values = dict(reading.values)
            self._pods[reading.pod] = _Pod(reading.at, reading.at, values, dict.fromkeys(values, 0))
            return
        if reading.at <= pod.last:
            return
        for series in pod.values.keys() | reading.values.keys():
            before, now = pod.values.get(series, 0.0), reading.values.get(series, 0.0)
            more = now - before if now >= before else now
            pod.grown[series] = pod.grown.get(series, 0.0) + more
            pod.values[series] = now
        pod.last = reading.at

    def traffic(self) -> Traffic:
        """What they have grown by so far."""
        grown: dict[Series, float] = {}
        for pod in self._pods.values():
            for series, amount in pod.grown.items():
                grown[series] = grown.get(series, 0.0) + amount
        answered = {
            series: amount
            for series, amount in grown.items()
            if series.name == REQUESTS and series.protocol != PROBE
        }
        edges = self._edges()
        up_to = [round(grown.get(Series(SECONDS_BUCKET, edge_s=edge), 0.0)) for edge in edges]
        return Traffic(
            seconds=self._seconds(),
            requests=_sum(answered, lambda _: True),
            errors=_sum(answered, is_error),
            rejected=_sum(answered, REJECTED.__contains__),
            edges_s=edges,
            counts=tuple(now - before for before, now in zip([0, *up_to], up_to, strict=False)),
        )

    def _seconds(self) -> float:
        if not self._pods:
            return 0.0
        first = min(pod.first for pod in self._pods.values())
        return max(pod.last for pod in self._pods.values()) - first

    def _edges(self) -> tuple[float, ...]:
        """Those that every pod has: pods of two releases may have other buckets."""
        sets = [
            {series.edge_s for series in pod.values if series.name == SECONDS_BUCKET}
            for pod in self._pods.values()
        ]
        return tuple(sorted(set.intersection(*[each for each in sets if each] or [set()])))


class Tallies:
    """Tallies of the versions that are compared, all fed by the same looks at the pods.

    A look that one version has been told of serves the others too while it is fresh: were each
    counted up to a time of its own, the shares that are seen would not be those that there are.
    """

    def __init__(self) -> None:
        self._tallies: dict[str, Tally] = {}
        self._newest: Mapping[str, Sequence[Reading]] = {}
        self._looked_at = self._begin = -math.inf
        self._told: set[str] = set()

    def of(self, version: str, since: float) -> Tally:
        """The version's tally since then; a new one begins with the newest look."""
        tally = self._tallies.get(version)
        if tally is None or tally.since != since:
            tally = self._tallies[version] = Tally(since)
            if since < self._begin:
                self._told.add(version)  # that look does not go back so far
            else:
                self._feed(version)
        return tally

    def needs_look(self, version: str, now: float) -> bool:
        """Whether to look again before this version is told of; it is told of then."""
        again = version in self._told or now - self._looked_at > FRESH_S
        self._told = {version} if again else self._told | {version}
        return again

    def looked(
        self, now: float, readings: Mapping[str, Sequence[Reading]], begin: float = -math.inf
    ) -> None:
        """Take what a look at all pods has shown, by version.

        Args:
            now: seconds of the epoch.
            readings: each pod's in the order of their times.
            begin: how far back the look went; the default where nobody can look back.
        """
        self._newest, self._looked_at, self._begin = readings, now, begin
        for version in self._tallies:
            self._feed(version)

    def _feed(self, version: str) -> None:
        for reading in self._newest.get(version, ()):
            self._tallies[version].add(reading)


def is_error(code: str) -> bool:
    """Whether a code tells of a fault of the version that was asked, rather than of a refusal."""
    if code in REJECTED:
        return False
    return code in _FAILED or (len(code) == 3 and code.startswith("5"))


def _sum(answered: Mapping[Series, float], counts: Callable[[str], bool]) -> int:
    return round(sum(number for series, number in answered.items() if counts(series.code)))
