"""Whether latencies grow while a load lasts: what shows that a server falls behind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

SURE = 2.0  # standard errors by which a slope is above what is asked, to count as above it


@dataclass(frozen=True, slots=True)
class Trend:
    """Sums for the straight line through (when a request was to leave, its latency).

    They add up over processes and endpoints. Times are seconds since the window's start, which all
    of them share; latencies are seconds.

    In an open loop the backlog is arrival rate times latency (Little's law), so the line's slope is
    the backlog's growth as a share of what arrives, however long latencies are against the window
    or the warm-up: 0 where the server keeps up, rate / capacity - 1 where it does not.
    """

    count: int = 0
    times: float = 0.0
    latencies: float = 0.0
    times_squared: float = 0.0
    latencies_squared: float = 0.0
    products: float = 0.0

    @classmethod
    def of(cls, times_s: Numbers, latencies_s: Numbers) -> Trend:
        """The sums of so many requests."""
        at, took = times_s, latencies_s
        return cls(
            len(at),
            float(at.sum()),
            float(took.sum()),
            float(at @ at),
            float(took @ took),
            float(at @ took),
        )

    @property
    def slope(self) -> float:
        """Seconds by which the latency grows in a second; 0 where too little is known."""
        spread = self._spread
        return self._together / spread if spread > 0 else 0.0

    @property
    def error(self) -> float:
        """The slope's standard error; infinite where too little is known."""
        spread = self._spread
        if self.count < 3 or spread <= 0:
            return math.inf
        about = self.latencies_squared - self.latencies**2 / self.count
        left = max(0.0, about - self._together**2 / spread)
        return math.sqrt(left / (self.count - 2) / spread)

    def is_above(self, slope: float) -> bool:
        """Whether latencies grow faster than that, and not by chance."""
        return self.slope - SURE * self.error > slope

    @property
    def _spread(self) -> float:
        return self.times_squared - self.times**2 / self.count if self.count > 1 else 0.0

    @property
    def _together(self) -> float:
        return self.products - self.times * self.latencies / self.count


def added(trends: Iterable[Trend]) -> Trend:
    """One trend of all of them."""
    whole = list(trends)
    return Trend(
        sum(trend.count for trend in whole),
        sum(trend.times for trend in whole),
        sum(trend.latencies for trend in whole),
        sum(trend.times_squared for trend in whole),
        sum(trend.latencies_squared for trend in whole),
        sum(trend.products for trend in whole),
    )
