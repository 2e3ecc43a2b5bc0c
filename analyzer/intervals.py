"""How sure a figure is: 95 % intervals, two-sided: a bound is to be missed in 2.5 % of samples.

Reports show Wilson's interval of a rate. Gates compare exact ones (Clopper and Pearson's), whose
2.5 % hold for every sample, however small; Wilson's hold on average only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from analyzer.result import Rate

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
Z = float(stats.norm.ppf(1 - TAIL))


def wilson(count: ArrayLike, of: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's score interval (1927) of ``count`` among ``of``, arrays alike; 0 to 1 of nothing."""
    counts = np.asarray(count, dtype=np.float64)
    wholes = np.asarray(of, dtype=np.float64)
    n = np.maximum(wholes, 1)
    share = counts / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    # At the ends the bound is exact, but for rounding.
    low = np.where((wholes == 0) | (counts == 0), 0.0, np.maximum(centre - half, 0))
    high = np.where((wholes == 0) | (counts == wholes), 1.0, np.minimum(centre + half, 1))
    return low, high


def rate(count: int, of: int) -> Rate:
    """A rate with its interval."""
    return rates([count], [of])[0]


def rates(counts: ArrayLike, wholes: ArrayLike) -> list[Rate]:
    """The same of many at once."""
    low, high = wilson(counts, wholes)
    return [
        Rate(count=count, of=of, rate=count / of if of else 0.0, low=below, high=above)
        for count, of, below, above in zip(
            np.asarray(counts).tolist(),
            np.asarray(wholes).tolist(),
            low.tolist(),
            high.tolist(),
            strict=True,
        )
    ]


def exact(count: int, of: int) -> tuple[float, float]:
    """Clopper and Pearson's interval (1934) of ``count`` among ``of``; 0 to 1 of nothing."""
    low = float(stats.beta.ppf(TAIL, count, of - count + 1)) if count else 0.0
    high = float(stats.beta.ppf(1 - TAIL, count + 1, of - count)) if count < of else 1.0
    return low, high


def paired_difference(only_first: int, only_second: int, of: int) -> tuple[float, float]:
    """Tango's score interval (1998) of the first's share less the second's, both of the same.

    It is not exact: from 20 images on a bound is missed in 3.6 % of samples at worst.

    Args:
        only_first: right by the first alone.
        only_second: right by the second alone.
        of: all that both were asked.

    Returns:
        Its bounds, -1 to 1; both of them where ``of`` is 0.
    """
    if of == 0:
        return -1.0, 1.0
    found = (only_first - only_second) / of

    def excess(difference: float) -> float:
        return _tango(difference, only_first, only_second, of)

    low = -1.0 if found == -1 else optimize.brentq(lambda d: excess(d) - Z, -1, found)
    high = 1.0 if found == 1 else optimize.brentq(lambda d: excess(d) + Z, found, 1)
    return float(low), float(high)


def _tango(difference: float, first: int, second: int, of: int) -> float:
    """How many standard deviations what was found lies above ``difference``."""
    # The likeliest share of "second alone" if the difference is that one: Tango's equation 10.
    a = 2 * of
    b = -first - second + (2 * of - first + second) * difference
    c = -second * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 4 * a * c, 0)) - b) / (2 * a)
    variance = of * (2 * share + difference * (1 - difference))
    distance = first - second - of * difference
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)


def quantile_ranks(of: int, quantile: float) -> tuple[int, int]:
    """Which of ``of`` values in rising order, from 1, bound their population's quantile.

    Returns:
        The ranks; 0 or ``of + 1`` where there are too few values to bound that side.
    """
    low = int(stats.binom.ppf(TAIL, of, quantile)) if of else 0
    high = int(stats.binom.ppf(1 - TAIL, of, quantile)) + 1 if of else 1
    return low, high


def quantile(values: Sequence[float] | NDArray[np.float64], share: float) -> tuple[float, float]:
    """Bounds of a quantile, whatever the distribution; ``inf`` above where values are too few.

    The 99 % quantile takes 368 values to be bounded from above.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    low, high = quantile_ranks(ordered.size, share)
    below = float(ordered[low - 1]) if low else 0.0
    return below, float(ordered[high - 1]) if high <= ordered.size else math.inf


def mean(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of a mean of positive values; 0 to ``inf`` of fewer than two."""
    found = np.asarray(values, dtype=np.float64)
    if found.size < 2:
        return 0.0, math.inf
    centre = float(found.mean())
    error = float(found.std(ddof=1)) / math.sqrt(found.size)
    half = float(stats.t.ppf(1 - TAIL, found.size - 1)) * error
    return max(centre - half, 0.0), centre + half


def positive_mean(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The same of their logarithms: of positive values that are off by factors (a geometric mean).

    Unlike ``mean`` it stays above 0 and is wide upwards.
    """
    logarithms = np.log(np.asarray(values, dtype=np.float64))
    if logarithms.size < 2:
        return 0.0, math.inf
    error = float(logarithms.std(ddof=1)) / math.sqrt(logarithms.size)
    half = float(stats.t.ppf(1 - TAIL, logarithms.size - 1)) * error
    centre = float(logarithms.mean())
    with np.errstate(over="ignore"):
        return float(np.exp(centre - half)), float(np.exp(centre + half))
