"""One instance process: pinned to its device before its runtime is imported; batch → infer → top-k.

Two threads: the feeder (``feeder.py``) receives slot numbers and copies pixels into the next batch;
this, the main thread, runs the batch before it. So the device never waits for the copy.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

from model_store.errors import ModelStoreError
from model_store.package import ModelPackage, load_package
from predictor.control import Control, Message
from predictor.errors import StartupError
from predictor.feeder import Batch, Feeder
from predictor.golden import check_golden
from predictor.metrics import InstanceMetrics, instance_restarted
from predictor.process import InstanceOrder, enter_process, leave_stopping_to_the_supervisor
from predictor.runtimes import Runtime
from predictor.slab import Outcome
from predictor.statistics import BatchCounts, Statistics, StatisticsLayout
from predictor.types import BatchCost
from predictor.warm_up import warm_up

logger = logging.getLogger(__name__)


def main() -> None:
    """Entry of the process: ``python -m predictor.instance CONTROL_FD``."""
    control = Control.from_fd(int(sys.argv[1]))
    leave_stopping_to_the_supervisor()
    start = control.receive()
    if start is None:
        return
    order = InstanceOrder(**start.content)
    enter_process(f"millrace: instance {order.model_name} {order.device}", order.log_level)
    if order.generation > 0:
        instance_restarted(order.model_name, order.instance)
    try:
        package, runtime, cost = _load(order)
    except (StartupError, ModelStoreError) as error:
        control.send(Message("failed", {"reason": str(error)}))
        sys.exit(1)
    metrics = InstanceMetrics(order.model_name, package.version, order.instance)
    counts = Statistics(start.fds[0], StatisticsLayout(**order.statistics)).batches(order.instance)
    shape = package.manifest.input.shape
    with Feeder(
        control, shape, cost.max_batch_size, order.max_queue_delay_us, metrics.outcome
    ) as feeder:
        logger.info(
            "ready: batches of up to %d, %.2f ms an image and %.2f ms a batch",
            cost.max_batch_size,
            cost.per_image_s * 1e3,
            cost.per_batch_s * 1e3,
        )
        control.send(Message("ready", asdict(cost)))
        _serve(feeder, runtime, metrics, counts)
    runtime.close()


def _load(order: InstanceOrder) -> tuple[ModelPackage, Runtime, BatchCost]:
    """Load package → pin → load graph → warm up → golden check."""
    package = load_package(Path(order.package))
    os.sched_setaffinity(0, order.cores)
    os.nice(order.nice)
    from predictor.runtimes.onnx import OnnxRuntime  # only now that environment and cores are set

    variant = package.manifest.variants[0]
    runtime = OnnxRuntime(package.path / variant.file, order.kind, order.threads)
    cost = warm_up(runtime, package.manifest.input.shape, order.max_batch_size)
    check_golden(package, runtime)
    return package, runtime, cost


def _serve(feeder: Feeder, runtime: Runtime, metrics: InstanceMetrics, counts: BatchCounts) -> None:
    while (batch := feeder.next_batch()) is not None:
        batch.began_ns = time.monotonic_ns()
        try:
            answers = runtime.run(batch.images)
        # Whatever a runtime raises, it costs this batch and not the process.
        except Exception:
            logger.exception("batch of %d failed", len(batch.items))
            feeder.complete(batch, Outcome.FAILED)
            metrics.outcome(Outcome.FAILED, len(batch.items))
            continue
        batch.ended_ns = time.monotonic_ns()
        feeder.complete(batch, Outcome.DONE, answers)
        _count(metrics, counts, batch)


def _count(metrics: InstanceMetrics, counts: BatchCounts, batch: Batch) -> None:
    size = len(batch.items)
    infer_ns = batch.ended_ns - batch.began_ns
    collect_ns = time.monotonic_ns() - batch.ended_ns
    counts.count(size, batch.copy_ns, infer_ns, collect_ns)
    metrics.batch_ran(size, infer_ns / 1e9)
    metrics.outcome(Outcome.DONE, size)
    metrics.stage_took("queue", (batch.began_ns - batch.oldest_ns) / 1e9)
    metrics.stage_took("copy", batch.copy_ns / size / 1e9)
    metrics.stage_took("collect", collect_ns / size / 1e9)


if __name__ == "__main__":
    main()
