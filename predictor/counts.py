"""What a pod has counted, at one moment or between two: the shape of ``Statistics``, read. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

# A frontend's row begins with a count and nanoseconds of each of these.
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
REQUEST_CELLS = 2 * len(DURATIONS)


@dataclass(slots=True)
class Work:
    """What frontends did besides, in ns where it is time: the second part of a row.

    Attributes:
        images: that were answered.
        refused_ns: refusing requests, on the event loop.
        respond_ns: making their answers.
        held_ns: what their slots were held for decoding and for the way back.
        loop_ns: CPU time of the event loop.
        pool_ns: CPU time of the decode threads.
        other_ns: CPU time of the process' other threads.
        pool_images, here_images: images decoded by the threads, and on the event loop.
        here_ns: what the latter took.
        connections_ns: time that HTTP connections had a request under way, summed over them.
        untaken: thousandths of images; of each as many as its connection spent of that time on
            answers that its client did not take.
    """

    images: int = 0
    refused_ns: int = 0
    respond_ns: int = 0
    held_ns: int = 0
    loop_ns: int = 0
    pool_ns: int = 0
    other_ns: int = 0
    pool_images: int = 0
    here_images: int = 0
    here_ns: int = 0
    connections_ns: int = 0
    untaken: int = 0


WORK = tuple(field.name for field in fields(Work))
# How long answered requests took, in buckets an eighth of a power of two wide (as an HDR histogram
# has them) from 2^FIRST_POWER ns, 33 µs, on; what is longer than 2^38 ns, 275 s, is in the last.
FIRST_POWER, LAST_POWER, PER_POWER = 15, 38, 8
LATENCY_CELLS = (LAST_POWER - FIRST_POWER) * PER_POWER
ROW_CELLS = REQUEST_CELLS + len(WORK) + LATENCY_CELLS
# An instance's table: when it last ran, CPU time of its process and of its feeder, and how large
# batches may be at the moment; then a row for each batch size from 1: how many batches, and
# nanoseconds of each of these.
HEADER_CELLS = 4
BATCH_DURATIONS = ("compute_input", "compute_infer", "compute_output")
BATCH_CELLS = 1 + len(BATCH_DURATIONS)


@dataclass(frozen=True, slots=True)
class StatisticsLayout:
    """Sizes that every process must agree on."""

    frontends: int
    instances: int
    largest_batch: int
    first_instance: int = 0  # its number; the others follow

    @property
    def table_cells(self) -> int:
        """Cells of one instance."""
        return HEADER_CELLS + BATCH_CELLS * self.largest_batch

    @property
    def cells(self) -> int:
        """Cells of all, and a last one: when they were made."""
        return ROW_CELLS * self.frontends + self.table_cells * self.instances + 1

    def row(self, frontend: int) -> slice:
        """Where a frontend's row is."""
        return slice(ROW_CELLS * frontend, ROW_CELLS * (frontend + 1))

    def table(self, instance: int) -> slice:
        """Where an instance's table is."""
        place = instance - self.first_instance
        begin = ROW_CELLS * self.frontends + self.table_cells * place
        return slice(begin, begin + self.table_cells)

    @property
    def numbers(self) -> range:
        """The numbers of the instances."""
        return range(self.first_instance, self.first_instance + self.instances)


@dataclass(frozen=True, slots=True)
class Duration:
    """How often, and how long in total."""

    count: int
    ns: int


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """All batches of one size: how many, and nanoseconds spent on each of ``BATCH_DURATIONS``."""

    size: int
    count: int
    ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Everybody's numbers: since the pod's start, or since an earlier moment."""

    layout: StatisticsLayout
    cells: NDArray[np.int64]  # (layout.cells,)

    def since(self, before: Counts) -> Counts:
        """What was added after ``before``, which is of the same pod."""
        return Counts(self.layout, self.cells - before.cells)

    def nothing(self) -> Counts:
        """As they were at the pod's start."""
        return Counts(self.layout, np.zeros_like(self.cells))

    @property
    def began_ns(self) -> int:
        """When counting began (CLOCK_MONOTONIC). Not of a difference."""
        return int(self.cells[-1])

    @property
    def requests(self) -> dict[str, Duration]:
        """By the names in ``DURATIONS``; they count requests."""
        cells = self._rows[:REQUEST_CELLS].tolist()
        return {
            name: Duration(cells[2 * place], cells[2 * place + 1])
            for place, name in enumerate(DURATIONS)
        }

    @property
    def work(self) -> Work:
        """Of all frontends together."""
        return Work(*self._rows[REQUEST_CELLS : REQUEST_CELLS + len(WORK)].tolist())

    @property
    def batches(self) -> tuple[BatchTotals, ...]:
        """The sizes there were, smallest first, over all instances."""
        tables = [self._sizes(number) for number in self.layout.numbers]
        return _batch_totals(np.sum(tables, axis=0))

    def batches_of(self, instance: int) -> tuple[BatchTotals, ...]:
        """The same for one instance."""
        return _batch_totals(self._sizes(instance))

    def cpu_ns(self, instance: int) -> tuple[int, int]:
        """CPU time of an instance's process, and of its feeder in it."""
        header = self.cells[self.layout.table(instance)][:HEADER_CELLS].tolist()
        return header[1], header[2]

    def batch_limit(self, instance: int) -> int:
        """How large batches may be there; 0: nothing is known. Not of a difference."""
        return int(self.cells[self.layout.table(instance)][3])

    @property
    def last_inference_ms(self) -> int:
        """When a batch last ended, in milliseconds since 1970; 0 for never. Not of a difference."""
        return max(int(self.cells[self.layout.table(one)][0]) for one in self.layout.numbers)

    def busy_ns(self) -> list[int]:
        """Nanoseconds that each instance's device has spent on batches."""
        column = 1 + BATCH_DURATIONS.index("compute_infer")
        return [int(self._sizes(number)[:, column].sum()) for number in self.layout.numbers]

    def latency_s(self, share: float) -> float | None:
        """The time within which ``share`` of the answered requests were; None if there were none.

        Exact to a bucket: at most an eighth too long.
        """
        cells = self._rows[ROW_CELLS - LATENCY_CELLS :]
        total = int(cells.sum())
        if total == 0:
            return None
        place = int(np.searchsorted(np.cumsum(cells), share * total))
        return latency_end_ns(min(place, LATENCY_CELLS - 1)) / 1e9

    @property
    def _rows(self) -> NDArray[np.int64]:
        """(ROW_CELLS,): all frontends' rows, added up."""
        rows = self.cells[: ROW_CELLS * self.layout.frontends]
        summed: NDArray[np.int64] = rows.reshape(-1, ROW_CELLS).sum(axis=0)
        return summed

    def _sizes(self, instance: int) -> NDArray[np.int64]:
        """(largest_batch, BATCH_CELLS): one instance's batches."""
        return self.cells[self.layout.table(instance)][HEADER_CELLS:].reshape(-1, BATCH_CELLS)


def inference_count(batches: tuple[BatchTotals, ...]) -> int:
    """Images computed."""
    return sum(batch.size * batch.count for batch in batches)


def execution_count(batches: tuple[BatchTotals, ...]) -> int:
    """Batches run."""
    return sum(batch.count for batch in batches)


def latency_cell(ns: int) -> int:
    """The bucket of a duration."""
    power = ns.bit_length() - 1
    if power < FIRST_POWER:
        return 0
    if power >= LAST_POWER:
        return LATENCY_CELLS - 1
    return (power - FIRST_POWER) * PER_POWER + (ns >> (power - 3)) - PER_POWER


def latency_end_ns(cell: int) -> int:
    """Where a bucket ends."""
    power, eighth = divmod(cell, PER_POWER)
    return (PER_POWER + eighth + 1) << (FIRST_POWER + power - 3)


def _batch_totals(sizes: NDArray[np.int64]) -> tuple[BatchTotals, ...]:
    return tuple(
        BatchTotals(place + 1, row[0], tuple(row[1:]))
        for place, row in enumerate(sizes.tolist())
        if row[0]
    )
