"""How a measurement is going, once a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from loadgen.orders import Beat
from loadgen.plan import Load


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One look at it.

    Attributes:
        load: what is being sent.
        elapsed_s: of the measured time; below 0 during the warm-up.
        duration_s: measured time in all.
        answered: measured requests so far.
        failed: those of them that were not answered well.
        in_flight: sent and not answered.
        endpoints: that are sent to.
        rate: measured answers a second since the last look.
        p50_ms: of good answers since the last look; None where there were none.
        p99_ms: the same.
    """

    load: Load
    elapsed_s: float
    duration_s: float
    answered: int
    failed: int
    in_flight: int
    endpoints: int
    rate: float
    p50_ms: float | None
    p99_ms: float | None


Watch = Callable[[Snapshot], None]


class Progress:
    """Puts the workers' beats together; a snapshot is due when each has sent one."""

    def __init__(self, load: Load, start_ns: int, end_ns: int, workers: int) -> None:
        self.end_ns = end_ns
        self._load = load
        self._start_ns = start_ns
        self._workers = workers
        self._beats: dict[int, Beat] = {}
        self._last_ns = start_ns
        self._last_answered = 0

    @property
    def complete(self) -> bool:
        """Whether every worker has sent a beat since the last snapshot."""
        return len(self._beats) == self._workers

    def take(self, worker: int, beat: Beat) -> None:
        """Keep a worker's newest beat."""
        self._beats[worker] = beat

    def snapshot(self) -> Snapshot:
        """What the beats say together."""
        now_ns = time.monotonic_ns()
        beats = list(self._beats.values())
        self._beats.clear()
        answered = sum(beat.answered for beat in beats)
        recent_us = [latency for beat in beats for latency in beat.recent_us]
        p50_us, p99_us = np.percentile(recent_us, [50, 99]) if recent_us else (None, None)
        since_s = (now_ns - self._last_ns) / 1e9
        rate = (answered - self._last_answered) / since_s if since_s > 0 else 0.0
        if since_s > 0:
            self._last_ns = now_ns
        self._last_answered = answered
        return Snapshot(
            load=self._load,
            elapsed_s=(now_ns - self._start_ns) / 1e9,
            duration_s=(self.end_ns - self._start_ns) / 1e9,
            answered=answered,
            failed=sum(beat.failed for beat in beats),
            in_flight=sum(beat.in_flight for beat in beats),
            endpoints=max(beat.endpoints for beat in beats),
            rate=rate,
            p50_ms=None if p50_us is None else float(p50_us) / 1000,
            p99_ms=None if p99_us is None else float(p99_us) / 1000,
        )
