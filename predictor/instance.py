"""One instance process: pinned to its device before its runtime is imported; batch → infer → top-k.

Two threads: the feeder (``feeder.py``) receives slot numbers and copies pixels into the next batch;
this, the main thread, runs the batch before it. So the device never waits for the copy.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from model_store.errors import ModelStoreError
from model_store.package import ModelPackage, Variant
from predictor.batch_run import BatchRun, MemoryLimit, run_batch
from predictor.batching import BatchPolicy
from predictor.calibration import measure_decode
from predictor.control import Control, Message
from predictor.counts import StatisticsLayout
from predictor.errors import StartupError
from predictor.feeder import Batch, Feeder
from predictor.golden import check_golden
from predictor.metrics import InstanceMetrics, instance_restarted
from predictor.placement import ON_CORES
from predictor.process import (
    InstanceOrder,
    begin_child,
    enter_process,
    same_package,
    told,
)
from predictor.pulse import Heart, Pulse
from predictor.runtimes import Runtime
from predictor.runtimes.loading import load_runtime
from predictor.scheduling import set_slice
from predictor.slab import Outcome
from predictor.statistics import BatchCounts, Statistics
from predictor.types import Answers, BatchCost, EmulatedCost
from predictor.variant_choice import choose_variant
from predictor.warm_up import warm_up

logger = logging.getLogger(__name__)

SLICE_S = 0.02  # of a batch that is computed on cores: interrupted less often, its data stay near
SLOW = 20  # a batch that takes this many times what it should, and hang_timeout_s more, hangs
# After so many batches in a row of which nothing was computed the device may be broken: a CUDA
# context does not recover from an error, and a new process has a new one. It is asked for itself.
DOUBTFUL = 3


def main() -> None:
    """Entry of the process: ``python -m predictor.instance CONTROL_FD``."""
    control, start = begin_child()
    order = InstanceOrder(**start.content)
    enter_process(f"millrace: instance {order.model_name} {order.device}", order.log_level)
    if order.generation > 0:
        instance_restarted(order.model_name, order.instance)
    try:
        package, variant, runtime, cost = _load(order, control)
    except (StartupError, ModelStoreError) as error:
        control.send(Message("failed", {"reason": str(error)}))
        sys.exit(1)
    metrics = InstanceMetrics(order.model_name, package.version, order.instance)
    statistics, signs = start.fds
    counts = Statistics(statistics, StatisticsLayout(**order.statistics)).batches(order.instance)
    pulse = Pulse(signs)
    Heart(pulse).start()
    shape = package.manifest.input.shape
    policy = BatchPolicy(
        cost.max_batch_size,
        order.max_queue_delay_us,
        tuple(cost.preferred_batch_sizes),
        order.priority_levels,
        order.priority_step_us,
    )
    with Feeder(control, shape, policy, runtime, metrics.outcome) as feeder:
        logger.info(
            "ready: batches of up to %d, %.2f ms an image and %.2f ms a batch, by %s",
            cost.max_batch_size,
            cost.per_image_s * 1e3,
            cost.per_batch_s * 1e3,
            variant.file,
        )
        if order.kind in ON_CORES:
            set_slice(SLICE_S)
        decode_s = measure_decode(package) if order.calibrate else 0.0
        ready = {"cost": asdict(cost), "decode_s": decode_s, "variant": variant.file}
        control.send(Message("ready", ready))
        run = watched(runtime, pulse, cost, order.hang_timeout_s)
        counts.limit(cost.max_batch_size)
        if not _serve(feeder, run, MemoryLimit(cost.max_batch_size), metrics, counts):
            logger.error("this device computes nothing any more; this instance ends")
            os._exit(1)  # without a word to the feeder: what it holds is to go elsewhere
    runtime.close()


def _load(
    order: InstanceOrder, control: Control
) -> tuple[ModelPackage, Variant, Runtime, BatchCost]:
    """Load package → pin → choose variant → load graph → warm up → golden check.

    Raises:
        StartupError, ModelStoreError: it cannot be served here; says why.
    """
    package = same_package(order.package, order.digest)
    os.sched_setaffinity(0, order.cores)
    os.nice(order.nice)
    emulated = EmulatedCost(**order.emulated) if order.emulated else None
    # Imports the runtime, only now that environment and cores are set.
    began = time.monotonic()
    variant = choose_variant(package, order, lambda file: _agreed(control, file))
    runtime = load_runtime(package, order.kind, order.threads, emulated, variant)
    loaded = time.monotonic()
    try:
        cost = warm_up(
            runtime,
            package.manifest.input.shape,
            order.max_batch_size,
            order.preferred_batch_sizes,
        )
        if emulated is None:
            check_golden(package, runtime, variant)
        else:
            logger.warning("this device is emulated: its answers are not the model's")
    except StartupError:
        raise
    # Whatever a runtime raises on its first batches is why this pod cannot start.
    except Exception as error:
        logger.exception("the first batches failed")
        raise StartupError(f"device {order.device}: {told(error)}") from error
    logger.info("loaded in %.1f s, warmed up in %.1f s", loaded - began, time.monotonic() - loaded)
    return package, variant, runtime, cost


def _agreed(control: Control, file: str) -> str:
    """Propose a variant to the supervisor, and hear which one this kind of device serves.

    Raises:
        StartupError: the pod stops.
    """
    control.send(Message("fastest", {"variant": file}))
    answer = control.receive()
    if answer is None or answer.kind != "variant":
        raise StartupError("told to stop before it was ready")
    agreed: str = answer.content["variant"]
    return agreed


Run = Callable[[NDArray[np.uint8]], Answers]


def watched(runtime: Runtime, pulse: Pulse, cost: BatchCost, hang_timeout_s: float) -> Run:
    """The runtime's run, which says before each batch by when it must have ended."""

    def run(images: NDArray[np.uint8]) -> Answers:
        longest_s = hang_timeout_s + SLOW * cost.seconds(len(images))
        pulse.batch_due(time.monotonic_ns() + int(longest_s * 1e9))
        try:
            return runtime.run(images)
        finally:
            pulse.batch_due(0)

    return run


def _serve(
    feeder: Feeder, run: Run, limit: MemoryLimit, metrics: InstanceMetrics, counts: BatchCounts
) -> bool:
    """Run batches until told to stop; False if the device is broken."""
    nothing = 0  # batches in a row of which nothing was computed
    while (batch := feeder.next_batch()) is not None:
        ran = run_batch(run, batch.images)
        batch.ended_ns = time.monotonic_ns()
        nothing = 0 if ran.largest_part else nothing + 1
        if nothing >= DOUBTFUL and not run_batch(run, np.zeros_like(batch.images[:1])).largest_part:
            return False
        if limit.learn(len(batch.items), ran):
            feeder.limit(limit.size)
            counts.limit(limit.size)
        for part in ran.parts:
            feeder.complete(batch, part)
        _count(metrics, counts, batch, ran, feeder.cpu_ns())
    return True


def _count(
    metrics: InstanceMetrics, counts: BatchCounts, batch: Batch, ran: BatchRun, feeder_ns: int
) -> None:
    size = len(batch.items)
    failed = sum(part.answers is None for part in ran.parts)
    if ran.errors:
        metrics.batch_failed("out_of_memory" if ran.out_of_memory else "error")
        metrics.outcome(Outcome.FAILED, failed)
    if failed == size:
        return
    infer_ns = batch.ended_ns - batch.began_ns
    collect_ns = time.monotonic_ns() - batch.ended_ns
    counts.count(size, batch.copy_ns, infer_ns, collect_ns)
    counts.worked(time.process_time_ns(), feeder_ns)
    metrics.batch_ran(size, infer_ns / 1e9)
    metrics.outcome(Outcome.DONE, size - failed)
    metrics.stage_took("queue", (batch.began_ns - batch.oldest_ns) / 1e9)
    metrics.stage_took("copy", batch.copy_ns / size / 1e9)
    metrics.stage_took("collect", collect_ns / size / 1e9)


if __name__ == "__main__":
    main()
