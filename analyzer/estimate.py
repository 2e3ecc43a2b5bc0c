"""An estimate: a figure between its bounds, from counts. What gates compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from analyzer import intervals


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval.

    Attributes:
        figure: what was found.
        low: below it in 2.5 % of samples at most; ``-inf`` where nothing bounds it.
        high: the same above; ``inf`` where nothing bounds it.
        basis: what it rests on, for people ("456 of 500").
    """

    figure: float
    low: float
    high: float
    basis: str = ""

    @classmethod
    def known(cls, figure: float, basis: str = "") -> Estimate:
        """No sample but a fact, such as a file's size."""
        return cls(figure, figure, figure, basis)

    @classmethod
    def share(cls, count: int, of: int) -> Estimate:
        """``count`` of ``of``: images right, requests failed."""
        low, high = intervals.exact(count, of)
        return cls(count / of if of else 0.0, low, high, f"{count:,} of {of:,}")

    @classmethod
    def paired(cls, only_first: int, only_second: int, of: int) -> Estimate:
        """By how much the first is more often right than the second, of the same ``of`` images."""
        low, high = intervals.paired_difference(only_first, only_second, of)
        found = (only_first - only_second) / of if of else 0.0
        return cls(found, low, high, f"{only_first:,} won and {only_second:,} lost of {of:,}")

    @classmethod
    def quantile_of_buckets(
        cls, edges: Sequence[float], counts: Sequence[int], share: float
    ) -> Estimate:
        """A quantile of values that were only counted in buckets, as Prometheus does.

        Args:
            edges: upper edges, rising; the last may be ``inf``.
            counts: values in each bucket alone, not those below it.
            share: which quantile.
        """
        total = sum(counts)
        low, high = intervals.quantile_ranks(total, share)
        return cls(
            _bucket(math.ceil(share * total), edges, counts)[1],
            _bucket(low, edges, counts)[0],
            _bucket(high, edges, counts)[1],
            f"{total:,} values",
        )

    def on(self, basis: str) -> Estimate:
        """The same, with another word on what it rests on."""
        return replace(self, basis=basis)

    def less(self, other: Estimate) -> Estimate:
        """The difference of two independent estimates, or of two that rise and fall together.

        Bounds by the method of variance estimates recovery (Zou and Donner 2008).
        """
        below = _recovered(self.figure - self.low, other.high - other.figure)
        above = _recovered(self.high - self.figure, other.figure - other.low)
        found = self.figure - other.figure
        return Estimate(found, found - below, found + above, self.basis)

    def over(self, other: Estimate) -> Estimate:
        """The ratio of two positive ones: the same of their logarithms."""
        if other.figure <= 0:
            return Estimate(math.inf, -math.inf, math.inf, self.basis)
        logarithm = self._logarithm().less(other._logarithm())
        return Estimate(
            self.figure / other.figure,
            math.exp(logarithm.low),
            math.exp(logarithm.high),
            self.basis,
        )

    def _logarithm(self) -> Estimate:
        return Estimate(_log(self.figure), _log(self.low), _log(self.high), self.basis)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _recovered(one: float, other: float) -> float:
    return math.inf if math.isinf(one) or math.isinf(other) else math.hypot(one, other)


def _bucket(rank: int, edges: Sequence[float], counts: Sequence[int]) -> tuple[float, float]:
    """The edges of the bucket that holds the value of ``rank``, from 1; ends where none does."""
    below, seen = 0.0, 0
    if rank < 1:
        return below, below
    for edge, count in zip(edges, counts, strict=True):
        seen += count
        if rank <= seen:
            return below, edge
        below = edge
    return below, math.inf
