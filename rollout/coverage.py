"""For how long a version's requests were counted, where its pods are read at different times."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rollout.growth import Growth


def counted_s(pods: Sequence[Growth]) -> float:
    """Seconds whose requests to all of a version's pods are as many as those that were counted.

    A scraper reads pods one after the other, spread over its interval, so at the edges of a stretch
    some of them are counted and some are not, and a pod of one reading is not at all: such a moment
    counts by the share of the pods that are. A pod is there from up to an interval before its first
    reading to one after its last: those that start or go in between are no gap in the counting.

    It takes requests to be spread evenly over the pods that are there.
    """
    late_s = longest_interval_s(pods)
    spans = [(each.first, each.last) for each in pods]
    there = [(first - late_s, last + late_s) for first, last in spans]
    moments = sorted({moment for span in (*spans, *there) for moment in span})
    return sum(
        (after - before) * _around(spans, before, after) / _around(there, before, after)
        for before, after in pairwise(moments)
        if _around(there, before, after)
    )


def longest_interval_s(pods: Sequence[Growth]) -> float:
    """Seconds from one reading of a pod to its next; of the pod that is read least often."""
    return max((each.interval_s for each in pods), default=0.0)


def _around(spans: Sequence[tuple[float, float]], before: float, after: float) -> int:
    """How many of them hold the whole stretch."""
    return sum(first <= before and after <= last for first, last in spans)
