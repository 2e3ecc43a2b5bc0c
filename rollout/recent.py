"""What requests came to of late: one stretch of looks, and the one before it.

Of a step that is held for a day, what fails since a minute is little of all that was counted.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rollout.seen import Counted
from rollout.types import Traffic

LEAST_S = 60.0  # of a stretch; several scrapes, so that a hiccup is not all of it
LEAST_LOOKS = 6
# Of the candidate. One that fails half as often as it may (1 %) then surely misses its limit in two
# stretches in a row on one day in 400, by simulation; with 60 requests on one day in 13.
LEAST_REQUESTS = 120
MOST_LOOKS = 10_000  # a day of them; whoever has had too few requests in that time is not judged so


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    counted: Counted


class Recent:
    """Remembers the looks of one step, which counted from its beginning; in memory alone."""

    def __init__(self) -> None:
        self._since = 0.0
        self._looks: deque[_Look] = deque(maxlen=MOST_LOOKS)

    def add(self, at: float, since: float, counted: Counted) -> None:
        """Remember a look.

        Args:
            at: when it was; seconds of the epoch.
            since: from when it counted; with another moment all begins anew.
            counted: what it found.
        """
        if since != self._since:
            self._looks.clear()
            self._since = since
        self._looks.append(_Look(at, counted))

    def stretches(self, interval_s: float) -> tuple[Counted, ...]:
        """The newest stretch and the one before it; none while there are not both.

        Each is as short as it can be: a minute and some looks, with requests enough to tell.

        Args:
            interval_s: seconds between looks.
        """
        least_s = max(LEAST_S, LEAST_LOOKS * interval_s)
        looks = list(self._looks)
        ends = [len(looks) - 1]
        for number in range(len(looks) - 2, -1, -1):
            if _is_long(looks[number], looks[ends[-1]], least_s):
                ends.append(number)
            if len(ends) == 3:
                break
        else:
            return ()
        for _ in range(ends[-1]):
            self._looks.popleft()  # no stretch will go back so far
        newest, middle, oldest = (looks[number].counted for number in ends)
        return _between(middle, newest), _between(oldest, middle)


def _is_long(before: _Look, after: _Look, least_s: float) -> bool:
    requests = after.counted.candidate.requests - before.counted.candidate.requests
    return after.at - before.at >= least_s and requests >= LEAST_REQUESTS


def _between(before: Counted, after: Counted) -> Counted:
    return Counted(
        _less(after.candidate, before.candidate),
        _less(after.stable, before.stable),
    )


def _less(after: Traffic, before: Traffic) -> Traffic:
    """What came between two looks; its buckets, if pods of another release came, are not known."""
    same = after.edges_s == before.edges_s
    counts = zip(after.counts, before.counts, strict=True) if same else ()
    return Traffic(
        seconds=max(after.seconds - before.seconds, 0.0),
        requests=max(after.requests - before.requests, 0),
        errors=max(after.errors - before.errors, 0),
        rejected=max(after.rejected - before.rejected, 0),
        edges_s=after.edges_s if same else (),
        counts=tuple(max(now - then, 0) for now, then in counts),
        age_s=after.age_s,
        interval_s=after.interval_s,
    )
