"""The bare loop: decode and infer on every core, without any server. What is left to reach."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import onnxruntime as ort
import psutil
import setproctitle
from numpy.typing import NDArray

from benchmarks.errors import BenchmarkError
from benchmarks.processes import Usage, cpu_seconds, peak_mib
from model_store.package import ImageInput, ModelPackage, load_package
from predictor.decode import decode

BATCH_SIZES = (1, 4, 8)
START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class WorkerResult:
    """What one worker did."""

    images: int
    seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class BareResult:
    """What all workers did side by side."""

    batch_size: int
    workers: tuple[WorkerResult, ...]

    @property
    def images_per_second(self) -> float:
        """The sum over workers."""
        return sum(worker.images / worker.seconds for worker in self.workers)


def decoded(encoded: bytes, target: ImageInput) -> NDArray[np.uint8]:
    """One JPEG as the serving graph takes it, by the decoder Millrace itself uses."""
    return decode(encoded, target)


def serving_graph(package: ModelPackage) -> Path:
    """The package's network file."""
    return package.path / package.manifest.variants[0].file


def open_session(network: Path, threads: int) -> ort.InferenceSession:
    """A network on the CPU, with ``threads`` that sleep when idle."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])


def bare_loop(
    package: Path, images: Sequence[bytes], batch_size: int, seconds: float
) -> BareResult:
    """Decode and classify ``images`` over and over for ``seconds``, one worker per core."""
    context = multiprocessing.get_context("spawn")
    count = len(os.sched_getaffinity(0))
    together = context.Barrier(count)
    results: SimpleQueue[WorkerResult] = context.SimpleQueue()
    job = _Job(package, tuple(images), batch_size, seconds)
    workers = [
        context.Process(target=_work, args=(job, number, together, results), daemon=True)
        for number in range(count)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode != 0 for worker in workers):
        raise BenchmarkError("a worker of the bare loop failed; its traceback is above")
    return BareResult(batch_size, tuple(results.get() for _ in workers))


@dataclass(frozen=True, slots=True)
class _Job:
    package: Path
    images: tuple[bytes, ...]
    batch_size: int
    seconds: float


def _work(job: _Job, number: int, together: Barrier, results: SimpleQueue[WorkerResult]) -> None:
    setproctitle.setproctitle(f"bare loop: worker {number}")
    package = load_package(job.package)
    target = package.manifest.input
    session = open_session(serving_graph(package), threads=1)
    batch = np.empty((job.batch_size, *target.shape), np.uint8)
    first = number * len(job.images) // together.parties
    rotation = itertools.cycle(job.images[first:] + job.images[:first])

    def classify_batch() -> None:
        for slot, encoded in zip(range(job.batch_size), rotation, strict=False):
            batch[slot] = decoded(encoded, target)
        session.run(["indices", "scores"], {"image": batch})

    classify_batch()
    together.wait(START_TIMEOUT_S)
    myself = psutil.Process()
    images, cpu_before, started = 0, cpu_seconds(myself), time.perf_counter()
    while (elapsed := time.perf_counter() - started) < job.seconds:
        classify_batch()
        images += job.batch_size
    cpu_s = cpu_seconds(myself) - cpu_before
    usage = Usage(f"bare loop: worker {number}", cpu_s, peak_mib(os.getpid()))
    results.put(WorkerResult(images, elapsed, usage))
