"""Counts and durations of a whole pod since its start, in memory that all its processes share.

Every cell has one writer: a frontend writes its own row of requests, an instance its own table of
batches. So nobody locks, any frontend can answer for the pod, and a killed process loses nothing.
The numbers are those of Triton's statistics extension.
"""

from __future__ import annotations

import mmap
import time
from dataclasses import dataclass
from typing import TypeAlias

from predictor.observation import Observation
from predictor.slab import reserve

CELL_BYTES = 8  # int64
# A row of requests: a count and nanoseconds of each of these.
DURATIONS = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
REQUEST_CELLS = 2 * len(DURATIONS)
# One row per batch size: how many batches, and nanoseconds of each of these.
BATCH_DURATIONS = ("compute_input", "compute_infer", "compute_output")
BATCH_CELLS = 1 + len(BATCH_DURATIONS)

Cells: TypeAlias = "memoryview[int]"


@dataclass(frozen=True, slots=True)
class StatisticsLayout:
    """Sizes that every process must agree on."""

    frontends: int
    instances: int
    largest_batch: int
    first_instance: int = 0  # its number; the others follow

    @property
    def table_cells(self) -> int:
        """Cells of one instance: when it last ran, then a row for each batch size from 1."""
        return 1 + BATCH_CELLS * self.largest_batch

    @property
    def cells(self) -> int:
        """Cells of all."""
        return REQUEST_CELLS * self.frontends + self.table_cells * self.instances


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


@dataclass(frozen=True, slots=True)
class Totals:
    """The whole pod's numbers at one moment.

    Attributes:
        requests: by the names in ``DURATIONS``; they count requests.
        batches: the sizes there were, smallest first.
        last_inference_ms: when a batch last ended, in milliseconds since 1970; 0 for never.
    """

    requests: dict[str, Duration]
    batches: tuple[BatchTotals, ...]
    last_inference_ms: int

    @property
    def inference_count(self) -> int:
        """Images computed."""
        return sum(batch.size * batch.count for batch in self.batches)

    @property
    def execution_count(self) -> int:
        """Batches run."""
        return sum(batch.count for batch in self.batches)


class RequestCounts:
    """One frontend's row; written by that frontend alone."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def count(self, observation: Observation) -> None:
        """Count one request: as failed when it, or any of its images, was not answered."""
        total_ns = observation.ended_ns - observation.began_ns
        last = observation.last
        if observation.error or last is None:
            self._add(1, total_ns)
            return
        self._add(0, total_ns)
        waited_ns = last.decode_began_ns - last.accepted_ns  # for a decoder
        self._add(2, waited_ns + last.infer_began_ns - last.decoded_ns)
        self._add(3, last.decoded_ns - last.decode_began_ns)
        self._add(4, last.infer_ended_ns - last.infer_began_ns)
        self._add(5, observation.ended_ns - last.infer_ended_ns)

    def _add(self, duration: int, ns: int) -> None:
        self._cells[2 * duration] += 1
        self._cells[2 * duration + 1] += ns


class BatchCounts:
    """One instance's table; written by that instance alone."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def count(self, size: int, *ns: int) -> None:
        """Count one batch, with the nanoseconds of each of ``BATCH_DURATIONS``."""
        row = 1 + BATCH_CELLS * (size - 1)
        self._cells[row] += 1
        for place, spent in enumerate(ns, start=row + 1):
            self._cells[place] += spent
        self._cells[0] = time.time_ns() // 1_000_000


class Statistics:
    """All rows and tables, mapped into this process."""

    def __init__(self, fd: int, layout: StatisticsLayout) -> None:
        self._layout = layout
        self._cells: Cells = memoryview(mmap.mmap(fd, CELL_BYTES * layout.cells)).cast("q")

    @staticmethod
    def create(layout: StatisticsLayout) -> int:
        """Reserve the memory, all zeros; returns its file descriptor."""
        return reserve("millrace-statistics", CELL_BYTES * layout.cells)

    def requests(self, frontend: int) -> RequestCounts:
        """The row that ``frontend`` writes."""
        return RequestCounts(self._row(frontend))

    def batches(self, instance: int) -> BatchCounts:
        """The table that ``instance`` writes."""
        return BatchCounts(self._table(instance))

    def totals(self) -> Totals:
        """Everybody's numbers, added up."""
        rows = [self._row(frontend).tolist() for frontend in range(self._layout.frontends)]
        cells = [sum(column) for column in zip(*rows, strict=True)]
        tables = [self._table(instance).tolist() for instance in self.instances]
        return Totals(
            {
                name: Duration(cells[2 * place], cells[2 * place + 1])
                for place, name in enumerate(DURATIONS)
            },
            tuple(self._batch_totals(tables)),
            max(table[0] for table in tables),
        )

    @property
    def instances(self) -> range:
        """The numbers of the instances."""
        first = self._layout.first_instance
        return range(first, first + self._layout.instances)

    def busy_ns(self) -> list[int]:
        """Nanoseconds that each instance's device has spent on batches."""
        infer = 1 + 1 + BATCH_DURATIONS.index("compute_infer")
        return [sum(self._table(one)[infer::BATCH_CELLS].tolist()) for one in self.instances]

    def _batch_totals(self, tables: list[list[int]]) -> list[BatchTotals]:
        cells = [sum(column) for column in zip(*tables, strict=True)]
        totals = []
        for size in range(1, self._layout.largest_batch + 1):
            row = 1 + BATCH_CELLS * (size - 1)
            if cells[row]:
                ns = tuple(cells[row + 1 : row + BATCH_CELLS])
                totals.append(BatchTotals(size, cells[row], ns))
        return totals

    def _row(self, frontend: int) -> Cells:
        begin = REQUEST_CELLS * frontend
        return self._cells[begin : begin + REQUEST_CELLS]

    def _table(self, instance: int) -> Cells:
        layout = self._layout
        place = instance - layout.first_instance
        begin = REQUEST_CELLS * layout.frontends + layout.table_cells * place
        return self._cells[begin : begin + layout.table_cells]
