"""A service-level objective: what latencies and errors a load may have at most."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from loadgen.errors import LoadError
from loadgen.tally import Counted

DEFAULT_FAILED_RATIO = 0.001

_LATENCY = re.compile(r"(p\d{1,2}(?:\.\d+)?|mean|max)=(\d{1,12}(?:\.\d{1,12})?)(us|ms|s)")
_ERRORS = re.compile(r"errors=(\d{1,3}(?:\.\d{1,12})?)%")
_UNIT_US = {"us": 1, "ms": 1_000, "s": 1_000_000}


@dataclass(frozen=True, slots=True)
class Limit:
    """One figure of the latency (``p99``, ``mean``, ``max``) and what it may be at most."""

    figure: str
    most_us: float

    def of(self, counted: Counted) -> float:
        """The figure as it was, in microseconds."""
        if self.figure == "mean":
            return counted.latency.mean_us
        if self.figure == "max":
            return counted.latency.max_us
        return counted.latency.percentile_us(float(self.figure[1:]))


@dataclass(frozen=True, slots=True)
class Slo:
    """Limits that all must hold, and the part of requests that may fail."""

    limits: tuple[Limit, ...]
    failed_ratio: float = DEFAULT_FAILED_RATIO

    def misses(self, counted: Counted) -> tuple[str, ...]:
        """What does not hold, in words; empty where everything does.

        Failed requests have no latency, so they are bounded by themselves: a server that refuses
        most requests and answers the rest in no time keeps no objective.
        """
        missed = [
            f"{limit.figure} is {_ms(limit.of(counted))}, above {_ms(limit.most_us)}"
            for limit in self.limits
            if limit.of(counted) > limit.most_us
        ]
        if counted.failed_ratio > self.failed_ratio:
            failed = f"{counted.failed} of {counted.requests} requests failed"
            missed.append(f"{failed}, above {self.failed_ratio:.4g} of them")
        return tuple(missed)


def parse(texts: Iterable[str]) -> Slo | None:
    """Read ``p99=50ms``, ``mean=2ms``, ``max=1s``, ``errors=0.5%``; None where there is none.

    Raises:
        LoadError: a text is none of these.
    """
    limits: list[Limit] = []
    failed_ratio = DEFAULT_FAILED_RATIO
    texts = list(texts)
    for text in texts:
        if match := _LATENCY.fullmatch(text):
            limits.append(Limit(match[1], float(match[2]) * _UNIT_US[match[3]]))
        elif match := _ERRORS.fullmatch(text):
            failed_ratio = float(match[1]) / 100
        else:
            raise LoadError(
                f"{text!r} is no objective: write p99=50ms, mean=2ms, max=1s or errors=0.5%"
            )
    return Slo(tuple(limits), failed_ratio) if texts else None


def _ms(microseconds: float) -> str:
    return f"{microseconds / 1000:.4g} ms"
