"""Images through decoders and runtimes side by side, so that neither waits for the other.

A lane is one runtime with two buffers: while one is run, the next batch is decoded into the other.
On a GPU there is one lane, on cores one for each of them: runtimes of one thread each do more
together than one of many (docs/architecture.md). A lane that has a core to itself decodes for
itself: thumbnails are handed over in as much time as they are decoded in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray

from analyzer.errors import BrokenImageError
from analyzer.run_model import Block, Read
from model_store.package import ImageInput
from predictor.batch_run import BatchRun, run_batch
from predictor.decode import decode
from predictor.errors import BadImageError
from predictor.runtimes import Runtime
from predictor.types import DecodeLimits, Pixels

SLICE = 4  # images that a decoder takes at a time: handing them over costs what 0.1 images do
RUNTIME_FAILED = "the runtime failed on this image"


@dataclass(frozen=True, slots=True)
class Decoding:
    """How images are decoded: as the server does it."""

    target: ImageInput
    limits: DecodeLimits
    scaled: bool


@dataclass(slots=True)
class DecodeTime:
    """CPU time of decoding files, added up by all threads."""

    images: int = 0
    ns: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, images: int, ns: int) -> None:
        """So many images took so long."""
        with self.lock:
            self.images += images
            self.ns += ns

    @property
    def seconds_per_image(self) -> float | None:
        """Mean; None before there was any."""
        return self.ns / self.images / 1e9 if self.images else None


class Lane:
    """One runtime in a thread of its own, and the buffers that batches are gathered in."""

    def __init__(
        self, load: Callable[[], Runtime], batch: int, shape: tuple[int, int, int]
    ) -> None:
        self._thread = ThreadPoolExecutor(1, "infer")
        self.runtime = self._thread.submit(load).result()
        self.batch = min(batch, self.runtime.largest_batch or batch)
        allocate = self.runtime.allocate
        self.buffers = [
            self._thread.submit(allocate, (self.batch, *shape)).result() for _ in range(2)
        ]

    def run(self, images: NDArray[np.uint8]) -> Future[BatchRun]:
        """Begin to run a batch; what fails in it is halved until it fails alone."""
        return self._thread.submit(run_batch, self.runtime.run, images)

    def lead(self, work: Callable[[Lane], None]) -> Future[None]:
        """Let the runtime's own thread do it all."""
        return self._thread.submit(work, self)

    def warm_up(self) -> None:
        """Run a full batch of nothing: the first one allocates, and is captured on a GPU."""
        self.run(self.buffers[0]).result()

    def close(self) -> None:
        """Give the runtime back."""
        self._thread.submit(self.runtime.close).result()
        self._thread.shutdown()


class Stream:
    """One pass of images through lanes.

    Args:
        numbers: which images.
        read: their bytes or pixels.
        decoding: how they are decoded.
        answered: takes what is done, by one thread at a time.
        spent: where the decoders' time is added up.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        read: Read,
        decoding: Decoding,
        answered: Callable[[Block], None],
        spent: DecodeTime,
    ) -> None:
        self._left = iter(numbers)
        self._read = read
        self._decoding = decoding
        self._answered = answered
        self._spent = spent
        self._taking, self._telling = threading.Lock(), threading.Lock()
        self._stopped = threading.Event()

    def through(self, lanes: Sequence[Lane], decoders: int) -> None:
        """Let all images go through; raises what ended it, if anything did."""
        if decoders <= len(lanes):
            self._by_themselves(lanes)
        else:
            self._decoded_beside(lanes, decoders)

    def _by_themselves(self, lanes: Sequence[Lane]) -> None:
        working = [lane.lead(self._alone) for lane in lanes]
        try:
            for one in working:
                one.result()
        finally:
            self._stopped.set()
            wait(working)

    def _decoded_beside(self, lanes: Sequence[Lane], decoders: int) -> None:
        pool = ThreadPoolExecutor(decoders, "decode")
        leaders = ThreadPoolExecutor(len(lanes), "lane")
        try:
            for led in [leaders.submit(self._lead, lane, pool) for lane in lanes]:
                led.result()
        finally:
            self._stopped.set()
            leaders.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)

    def _lead(self, lane: Lane, pool: ThreadPoolExecutor) -> None:
        before: tuple[_Batch, Future[BatchRun]] | None = None
        try:
            for buffer in cycle(lane.buffers):
                batch = self._gather(lane, buffer, pool)
                if before is not None:
                    self._tell(before[0], before[1].result())
                if batch is None:
                    return
                before = batch, lane.run(buffer[: len(batch.numbers)])
        except BaseException:
            self._stopped.set()  # the other lanes need not go on
            raise

    def _alone(self, lane: Lane) -> None:
        try:
            while numbers := self._take(lane.batch):
                batch, buffer = _Batch(numbers, {}), lane.buffers[0]
                self._decode(numbers, buffer, batch.errors)
                self._tell(batch, run_batch(lane.runtime.run, buffer[: len(numbers)]))
        except BaseException:
            self._stopped.set()
            raise

    def _take(self, most: int) -> list[int]:
        with self._taking:
            if self._stopped.is_set():
                return []
            return list(islice(self._left, most))

    def _gather(
        self, lane: Lane, buffer: NDArray[np.uint8], pool: ThreadPoolExecutor
    ) -> _Batch | None:
        numbers = self._take(lane.batch)
        if not numbers:
            return None
        errors: dict[int, str] = {}
        parts = [
            pool.submit(self._decode, numbers[first : first + SLICE], buffer[first:], errors)
            for first in range(0, len(numbers), SLICE)
        ]
        for first, part in zip(range(0, len(numbers), SLICE), parts, strict=True):
            part.result()
            lane.runtime.ahead(buffer, first, min(first + SLICE, len(numbers)))
        return _Batch(numbers, errors)

    def _decode(
        self, numbers: Sequence[int], rows: NDArray[np.uint8], errors: dict[int, str]
    ) -> None:
        how = self._decoding
        images = spent_ns = 0
        for number, row in zip(numbers, rows, strict=False):
            try:
                image = self._read(number)
                began_ns = time.thread_time_ns()
                row[:] = decode(image, how.target, how.limits, scaled=how.scaled)
            except (BadImageError, BrokenImageError) as error:
                errors[number] = str(error)
                continue
            if not isinstance(image, np.ndarray):  # pixels tell nothing of what files take
                images += 1
                spent_ns += time.thread_time_ns() - began_ns
        self._spent.add(images, spent_ns)

    def _tell(self, batch: _Batch, ran: BatchRun) -> None:
        block = _block(batch, ran)
        with self._telling:
            self._answered(block)


@dataclass(frozen=True, slots=True)
class _Batch:
    numbers: list[int]
    errors: dict[int, str]


def _block(batch: _Batch, ran: BatchRun) -> Block:
    errors = dict(batch.errors)
    top_k = next((part.answers.indices.shape[1] for part in ran.parts if part.answers), 1)
    indices = np.full((len(batch.numbers), top_k), -1, np.int64)
    scores = np.full((len(batch.numbers), top_k), np.nan, np.float32)
    passing = set()
    for part in ran.parts:
        if part.answers is None:
            failed = batch.numbers[part.rows.start]
            if failed not in errors:
                errors[failed] = RUNTIME_FAILED
                passing.add(failed)
        else:
            indices[part.rows], scores[part.rows] = part.answers.indices, part.answers.scores
    for row, number in enumerate(batch.numbers):
        if number in errors:
            indices[row], scores[row] = -1, np.nan
    return Block(np.array(batch.numbers, np.int64), indices, scores, errors, frozenset(passing))


def decoded(numbers: Sequence[int], read: Read, decoding: Decoding) -> Iterator[tuple[int, Pixels]]:
    """The images that can be decoded, one after the other."""
    for number in numbers:
        try:
            image = read(number)
            yield number, decode(image, decoding.target, decoding.limits, scaled=decoding.scaled)
        except (BadImageError, BrokenImageError):
            continue
