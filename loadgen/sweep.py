"""Loads one after the other: every concurrency of a list, or every rate of a ramp."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from loadgen.arrivals import Arrival
from loadgen.client import Client
from loadgen.errors import LoadError
from loadgen.plan import MOST_RATE, Closed, Load, Open
from loadgen.report import Report

MOST_STEPS = 1000


def sweep(text: str) -> tuple[Closed, ...]:
    """Read ``1,2,4,8``.

    Raises:
        LoadError: it is no list of whole numbers above 0.
    """
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise LoadError(f"{text[:80]!r} is no sweep: write concurrencies, such as 1,2,4,8")
    return tuple(Closed(number) for number in numbers)


def ramp(text: str, arrival: Arrival) -> tuple[Open, ...]:
    """Read ``FROM:TO:STEP``, rates of requests a second; both ends belong to it.

    Raises:
        LoadError: it is none.
    """
    try:
        first, last, step = (float(part) for part in text.split(":"))
    except ValueError:
        first = last = step = 0.0
    if not (0 < first <= last <= MOST_RATE and step > 0):
        raise LoadError(f"{text[:80]!r} is no ramp: write rates FROM:TO:STEP, such as 100:1000:100")
    count = int(min((last - first) / step, MOST_STEPS) + 1e-9) + 1
    if count > MOST_STEPS:
        raise LoadError(f"{text[:80]!r} has more than {MOST_STEPS} steps: give it a larger STEP")
    return tuple(Open(first + place * step, arrival) for place in range(count))


def measure_all(client: Client, loads: Iterable[Load]) -> Iterator[Report]:
    """A report for each load, as it is measured; Ctrl-C ends the series with its report."""
    for load in loads:
        report = client.measure(load)
        yield report
        if report.stop_wanted:
            return
