"""Counts and durations of a whole pod since its start, in memory that all its processes share.

Every cell has one writer: a frontend writes its own row, an instance its own table of batches. So
nobody locks, any frontend can answer for the pod, and a killed process loses nothing: its
successor goes on adding. What is counted of requests and batches is what Triton's statistics
extension has; the rest is what ``stages`` are reckoned from.
"""

from __future__ import annotations

import mmap
import os
import sys
import time
from typing import TypeAlias

import numpy as np

from predictor.counts import (
    BATCH_CELLS,
    DURATIONS,
    HEADER_CELLS,
    LATENCY_CELLS,
    REQUEST_CELLS,
    ROW_CELLS,
    WORK,
    Counts,
    StatisticsLayout,
    Work,
    latency_cell,
)
from predictor.observation import ImageTimes, Observation
from predictor.slab import reserve

CELL_BYTES = 8  # int64

Cells: TypeAlias = "memoryview[int]"


class RequestCounts:
    """One frontend's row; written by that frontend alone."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    def count(self, observation: Observation) -> None:
        """Count one request: as failed when it, or any of its images, was not answered."""
        total_ns = observation.ended_ns - observation.began_ns
        last = observation.last
        if last is not None:  # v1 answers the other images of a request, whatever one is like
            self._count_images(observation, last)
        if observation.error or last is None:
            self._add(1, total_ns)
            if not observation.classified_ns:  # it was refused before anything was decoded
                refused_ns = observation.ended_ns - (observation.read_ns or observation.began_ns)
                self._cells[REFUSED_NS] += min(refused_ns, REFUSAL_NS)
            return
        self._add(0, total_ns)
        waited_ns = last.decode_began_ns - last.accepted_ns  # for a decoder
        self._add(2, waited_ns + last.infer_began_ns - last.decoded_ns)
        self._add(3, last.decoded_ns - last.decode_began_ns)
        self._add(4, last.infer_ended_ns - last.infer_began_ns)
        self._add(5, observation.ended_ns - last.infer_ended_ns)
        self._cells[LATENCIES + latency_cell(total_ns)] += 1

    def _count_images(self, observation: Observation, last: ImageTimes) -> None:
        cells, images = self._cells, observation.answered
        rendered_ns = observation.rendered_ns or observation.ended_ns
        decode_ns = last.decoded_ns - last.decode_began_ns
        cells[IMAGES] += images
        cells[RESPOND_NS] += rendered_ns - observation.classified_ns
        cells[HELD_NS] += images * (decode_ns + last.collected_ns - last.infer_ended_ns)

    @property
    def images(self) -> int:
        """Images answered so far, those of this process's predecessors included."""
        return self._cells[IMAGES]

    @property
    def failed(self) -> int:
        """Requests that were refused or failed so far, in the same way."""
        return self._cells[FAILED]

    @property
    def refused_ns(self) -> int:
        """What that took of the event loop, in the same way."""
        return self._cells[REFUSED_NS]

    def worked(self, work: Work) -> None:
        """Count what this frontend has done since it was last counted."""
        for place, name in enumerate(WORK, start=REQUEST_CELLS):
            self._cells[place] += getattr(work, name)

    def _add(self, duration: int, ns: int) -> None:
        self._cells[2 * duration] += 1
        self._cells[2 * duration + 1] += ns


FAILED = 2 * DURATIONS.index("fail")
IMAGES, REFUSED_NS, RESPOND_NS, HELD_NS = (
    REQUEST_CELLS + WORK.index(name) for name in ("images", "refused_ns", "respond_ns", "held_ns")
)
# Once it is read, a request is refused without waiting for anything, in 0.1 to 0.3 ms; what takes
# longer has waited, for an instance or its deadline.
REFUSAL_NS = 1_000_000
LATENCIES = ROW_CELLS - LATENCY_CELLS


class BatchCounts:
    """One instance's table; written by that instance alone."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._cpu_ns = self._feeder_ns = 0  # of this process, as far as it is counted

    def count(self, size: int, *ns: int) -> None:
        """Count one batch, with the nanoseconds of each of ``BATCH_DURATIONS``."""
        row = HEADER_CELLS + BATCH_CELLS * (size - 1)
        self._cells[row] += 1
        for place, spent in enumerate(ns, start=row + 1):
            self._cells[place] += spent
        self._cells[0] = time.time_ns() // 1_000_000

    def worked(self, cpu_ns: int, feeder_ns: int) -> None:
        """CPU time of the process so far, since its first batch, and its feeder's part of that."""
        if self._cpu_ns:
            self._cells[1] += cpu_ns - self._cpu_ns
            self._cells[2] += feeder_ns - self._feeder_ns
        self._cpu_ns, self._feeder_ns = cpu_ns, feeder_ns

    def limit(self, size: int) -> None:
        """Note how large batches may be from now on."""
        self._cells[3] = size


class Statistics:
    """All rows and tables, mapped into this process."""

    def __init__(self, fd: int, layout: StatisticsLayout) -> None:
        self.layout = layout
        self._mapping = mmap.mmap(fd, CELL_BYTES * layout.cells)
        self._cells: Cells = memoryview(self._mapping).cast("q")

    @staticmethod
    def create(layout: StatisticsLayout) -> int:
        """Reserve the memory, all zeros but when that was; returns its file descriptor."""
        fd = reserve("millrace-statistics", CELL_BYTES * layout.cells)
        began = time.monotonic_ns().to_bytes(CELL_BYTES, sys.byteorder)
        os.pwrite(fd, began, CELL_BYTES * (layout.cells - 1))
        return fd

    def requests(self, frontend: int) -> RequestCounts:
        """The row that ``frontend`` writes."""
        return RequestCounts(self._cells[self.layout.row(frontend)])

    def batches(self, instance: int) -> BatchCounts:
        """The table that ``instance`` writes."""
        return BatchCounts(self._cells[self.layout.table(instance)])

    def read(self) -> Counts:
        """Everybody's numbers as they are now."""
        return Counts(self.layout, np.frombuffer(self._mapping, np.int64).copy())
