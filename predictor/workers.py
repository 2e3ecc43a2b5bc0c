"""Who works for a version: what the pod has, less what its other versions take of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from predictor.counts import Work

LEFT = 0.05  # of the workers, at the least, whatever other versions take


@dataclass(frozen=True, slots=True)
class Use:
    """How many of each are busy, on average; cores with all that runs on them."""

    event_loops: float = 0.0
    decode_threads: float = 0.0
    cores: float = 0.0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.event_loops + other.event_loops,
            self.decode_threads + other.decode_threads,
            self.cores + other.cores,
        )


@dataclass(frozen=True, slots=True)
class Workers:
    """What a pod has to work with, all frontends together, and what its other versions take."""

    frontends: int
    decode_threads: int
    slots: int
    cores: int
    elsewhere: Use = Use()

    @property
    def free_event_loops(self) -> float:
        """Those that other versions leave."""
        return max(LEFT * self.frontends, self.frontends - self.elsewhere.event_loops)

    @property
    def free_decode_threads(self) -> float:
        """The same; more threads than cores are no faster."""
        threads = min(self.decode_threads, self.cores)
        return max(LEFT * threads, threads - self.elsewhere.decode_threads)

    @property
    def free_cores(self) -> float:
        """The same."""
        return max(LEFT * self.cores, self.cores - self.elsewhere.cores)


def use(work: Work, instances_cpu_s: float, seconds: float) -> Use:
    """What a version has kept busy that has done so much in so long."""
    frontends_ns = work.loop_ns + work.pool_ns + work.other_ns
    return Use(
        work.loop_ns / 1e9 / seconds,
        work.pool_ns / 1e9 / seconds,
        (frontends_ns / 1e9 + instances_cpu_s) / seconds,
    )
