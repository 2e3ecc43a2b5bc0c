"""The highest rate that holds an objective: doubling until it breaks, then closing in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadgen.arrivals import Arrival
from loadgen.client import Client
from loadgen.plan import MOST_RATE, Open
from loadgen.report import Report
from loadgen.slo import Slo

PRECISION = 0.02
REPEATS = 3  # the majority of so many measurements decides, as one alone may be noise
MOST_HALVINGS = 10  # below a thousandth of the first guess there is nothing to find
MOST_DOUBLINGS = 20


@dataclass(frozen=True, slots=True)
class Trial:
    """One rate that was tried, once."""

    rate: float
    report: Report
    misses: tuple[str, ...]

    @property
    def judged(self) -> bool:
        """Whether it says anything of its rate: what was cut short or not awaited does not."""
        return not self.report.interrupted and not self.report.unanswered

    @property
    def held(self) -> bool:
        """Whether the objective held, as far as one measurement tells."""
        return self.judged and not self.misses

    @property
    def missed(self) -> bool:
        """Whether it did not."""
        return self.judged and bool(self.misses)

    def __str__(self) -> str:
        verdict = "; ".join(self.misses) or "holds"
        return f"{self.report.load}: {verdict if self.judged else 'interrupted'}"


@dataclass(frozen=True, slots=True)
class Peak:
    """What a search found.

    Attributes:
        rate: the highest that held; 0 where none did.
        trials: all measurements, in order.
        interrupted: whether the search was ended early; the rate is then only the best so far.
    """

    rate: float
    trials: tuple[Trial, ...]
    interrupted: bool

    @classmethod
    def so_far(cls, trials: Sequence[Trial], *, repeats: int = REPEATS) -> Peak:
        """Of a search that did not come to its end; a rate counts once its majority has held."""
        held = Counter(trial.rate for trial in trials if trial.held)
        decided = [rate for rate, times in held.items() if times >= _majority(repeats)]
        return cls(max(decided, default=0.0), tuple(trials), interrupted=True)

    @property
    def best(self) -> Report | None:
        """A measurement that held at the peak."""
        held = [trial.report for trial in self.trials if trial.rate == self.rate and trial.held]
        return held[-1] if held else None

    @property
    def client_limited(self) -> bool:
        """Whether the client had too much to do at the rate above: the server may do better."""
        above = [trial for trial in self.trials if trial.rate > self.rate and trial.missed]
        return any(trial.report.client_limits for trial in above)

    def __str__(self) -> str:
        none = "no rate is known to hold" if self.interrupted else "no rate held"
        line = f"peak: {self.rate:.1f} requests/s" if self.rate else f"{none} the objective"
        if self.client_limited:
            line += "; above it the client was the limit, so the server may do better"
        return line + (" (the search did not end)" if self.interrupted else "")


class InterruptedSearchError(Exception):
    """Somebody wants no more trials."""


def search(
    holds: Callable[[float], bool],
    first: float,
    *,
    precision: float = PRECISION,
    repeats: int = REPEATS,
    most: float = math.inf,
) -> float:
    """The highest rate for which ``holds`` is true, to ``precision``; 0 where there is none.

    Args:
        holds: one measurement at a rate; noisy, and true below some rate and false above.
        first: where to begin.
        precision: the relative distance between a rate that holds and one that does not, at which
            to stop.
        repeats: measurements of a rate, of which the majority counts; fewer where it is clear.
        most: no rate above is tried.
    """

    def decided(rate: float) -> bool:
        needed = _majority(repeats)
        verdicts: list[bool] = []
        while max(verdicts.count(True), verdicts.count(False)) < needed:
            verdicts.append(holds(rate))
        return verdicts.count(True) >= needed

    low, high = _bracket(decided, first, most)
    if low == 0 or high == math.inf:
        return low
    while high / low - 1 > precision:
        middle = math.sqrt(low * high)
        if decided(middle):
            low = middle
        else:
            high = middle
    return low


def _majority(repeats: int) -> int:
    return repeats // 2 + 1


def _bracket(holds: Callable[[float], bool], first: float, most: float) -> tuple[float, float]:
    """A rate that holds and twice it, which does not; or 0, or infinity."""
    rate = first
    if holds(rate):
        for _ in range(MOST_DOUBLINGS):
            if 2 * rate > most:
                break
            if not holds(2 * rate):
                return rate, 2 * rate
            rate *= 2
        return rate, math.inf
    for _ in range(MOST_HALVINGS):
        if holds(rate / 2):
            return rate / 2, rate
        rate /= 2
    return 0, rate


def find_peak(
    client: Client,
    slo: Slo,
    *,
    first: float,
    arrival: Arrival = "poisson",
    precision: float = PRECISION,
    repeats: int = REPEATS,
    tried: Callable[[Trial], None] = lambda _trial: None,
) -> Peak:
    """Search with open loops; a rate holds when, besides ``slo``, the server keeps up with it."""
    trials: list[Trial] = []

    def holds(rate: float) -> bool:
        report = client.measure(Open(rate, arrival))
        misses = report.misses(slo)
        if not report.keeps_up:
            misses = (*misses, "the server falls behind")
        trials.append(Trial(rate, report, misses))
        tried(trials[-1])
        if report.stop_wanted:
            raise InterruptedSearchError
        return not misses

    try:
        rate = search(holds, first, precision=precision, repeats=repeats, most=MOST_RATE)
    except InterruptedSearchError:
        return Peak.so_far(trials, repeats=repeats)
    return Peak(rate, tuple(trials), interrupted=False)
