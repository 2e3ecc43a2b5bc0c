"""What counters of pods have grown by since a moment. Pure: it knows no network and no clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from predictor.observation import PROBE
from rollout.coverage import counted_s, longest_interval_s
from rollout.growth import REQUESTS, SECONDS_BUCKET, Growth, Reading, Series
from rollout.types import Traffic

FRESH_S = 0.2  # whoever compares versions asks for one right after the other

# For want of room or time; nothing was wrong with the version that was asked.
REJECTED = frozenset(
    ("429", "503", "504", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
)
_FAILED = frozenset(("INTERNAL", "UNKNOWN", "DATA_LOSS", "UNIMPLEMENTED"))


class Tally:
    """Adds up by how much a version's counters grow after ``since``, seconds of the epoch.

    A pod's first reading after ``since`` is where its counting begins: what was earlier may have
    been with other shares, and what stands in a counter whose past is unknown may be days old.

    Each scraper's readings of a pod are counted by themselves, and the one that saw most is
    believed: none sees more than there was, and counts of two would be those of the same requests.

    Attributes:
        newest: when the newest reading was made, also if it was before ``since``; None for none.
    """

    def __init__(self, since: float) -> None:
        self.since = since
        self.newest: float | None = None
        self._pods: dict[str, dict[str, Growth]] = {}  # by scraper
        self._least_age_s = math.inf

    def add(self, reading: Reading) -> None:
        """Take one reading; those of a pod in the order of their times, and older ones are left."""
        self.newest = max(reading.at, self.newest or reading.at)
        if reading.at < self.since:
            return
        scrapers = self._pods.setdefault(reading.pod, {})
        growth = scrapers.get(reading.scraper)
        if growth is None:
            scrapers[reading.scraper] = Growth(reading)
        else:
            growth.add(reading)

    def traffic(self, now: float) -> Traffic:
        """What they have grown by until ``now``, seconds of the epoch."""
        looks = self._believed(REQUESTS)
        answered = _sums(each.of(REQUESTS) for each in looks)
        clients = {
            series: amount for series, amount in answered.items() if series.protocol != PROBE
        }
        interval_s = longest_interval_s(looks)
        edges, up_to = _buckets(
            [each.of(SECONDS_BUCKET) for each in self._believed(SECONDS_BUCKET)]
        )
        return Traffic(
            seconds=counted_s(looks),
            requests=_count(clients, lambda _: True),
            errors=_count(clients, is_error),
            rejected=_count(clients, REJECTED.__contains__),
            edges_s=edges,
            counts=tuple(now - before for before, now in zip([0, *up_to], up_to, strict=False)),
            age_s=self._age_s(now, interval_s),
            interval_s=interval_s,
        )

    def _age_s(self, now: float, interval_s: float) -> float:
        """But for by how much readings are always late: a Prometheus may be, or its clock."""
        if self.newest is None:
            return 0.0
        age_s = now - self.newest
        self._least_age_s = min(self._least_age_s, age_s)
        return max(0.0, age_s - max(0.0, self._least_age_s - interval_s))

    def _believed(self, name: str) -> list[Growth]:
        """Of each pod what was seen by the scraper that saw most of the series of that name."""

        def most(seen: Growth) -> tuple[float, float]:
            return sum(seen.of(name).values()), seen.last - seen.first

        return [max(scrapers.values(), key=most) for scrapers in self._pods.values()]


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


def _count(answered: Mapping[Series, float], counts: Callable[[str], bool]) -> int:
    return round(sum(number for series, number in answered.items() if counts(series.code)))


def _buckets(pods: Sequence[Mapping[Series, float]]) -> tuple[tuple[float, ...], list[int]]:
    """Edges that every pod has, for pods of two releases may have other buckets; counts up to each.

    What was read of one bucket and not yet of the next is at least in that one too.
    """
    sets = [{series.edge_s for series in grown} for grown in pods if grown]
    edges = tuple(sorted(set.intersection(*sets))) if sets else ()
    grown = _sums(pods)
    counts = (round(grown[Series(SECONDS_BUCKET, edge_s=edge)]) for edge in edges)
    return edges, list(accumulate(counts, max))


def _sums(all_grown: Iterable[Mapping[Series, float]]) -> dict[Series, float]:
    sums: dict[Series, float] = {}
    for grown in all_grown:
        for series, amount in grown.items():
            sums[series] = sums.get(series, 0.0) + amount
    return sums
