"""How fast a model is here: batches of its variants, the stages' capacities, which one limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from analyzer.dataset_survey import Progress, Survey
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.local import LocalModel, Place
from analyzer.result import BatchSpeed, Speed, StageCapacity, VariantSpeed
from analyzer.speed_worker import Measured, Order
from model_store.speed import device as machine_name
from predictor.capacity import STAGES, Balance, DeviceWork, Workers, balance
from predictor.counts import BatchTotals, Work
from predictor.decode import decode
from predictor.errors import BadImageError
from predictor.warm_up import fit_cost, worthwhile_sizes

SLOTS = 4096  # enough: what limits a machine is asked here, and not what a setting allows
COUNTED = 1_000_000  # images that capacities are reckoned for; only ratios matter
TIMED = 64  # images, to learn what decoding takes
_ORDER_S = 600.0


def measure(
    models: Sequence[LocalModel], environment: dict[str, str], progress: Progress
) -> dict[str, Speed]:
    """Measure each model's variant by itself, one after the other.

    Args:
        models: those that ran here; what they took to decode is known by then.
        environment: of the processes that measure, such as the visible GPU.
        progress: told how it goes.

    Returns:
        By the models' names.
    """
    found = {}
    for done, model in enumerate(models):
        progress("speed", done, len(models))
        found[model.name] = of_model(model, environment)
    progress("speed", len(models), len(models))
    return found


def of_model(model: LocalModel, environment: dict[str, str]) -> Speed:
    """Measure one variant.

    Raises:
        AnalyzerError: it cannot be loaded here, or the process that measured failed.
    """
    threads = 1 if model.place.on_cores else model.place.cores
    order = Order(
        package=model.package.path,
        file=model.variant.file,
        kind=model.place.kind,
        threads=threads,
    )
    measured = _ordered(order, environment)
    if measured.error:
        raise AnalyzerError(f"{model.name}: {measured.error}")
    decode_s = model.decode_time.seconds_per_image
    variant = VariantSpeed(
        file=model.variant.file,
        precision=model.variant.precision,
        device=model.place.kind,
        threads=threads,
        file_bytes=(model.package.path / model.variant.file).stat().st_size,
        memory_bytes=measured.memory_bytes,
        batches=measured.batches,
    )
    found = balanced(measured.batches, decode_s, measured.cpu_s, model.place)
    feed = None if decode_s is None else decode_s * _best(measured.batches)
    return Speed(
        machine=machine_name(),
        variants=(variant,),
        stages=_stages(found),
        bottleneck=found.bottleneck.name if found.bottleneck else None,
        cores_per_device=feed,
        note=note(feed, model.place, found),
    )


def time_decoding(model: LocalModel, survey: Survey) -> None:
    """Decode some of a dataset's images, if a model has decoded none: all its answers were kept."""
    if model.decode_time.images or not len(survey.digests):
        return
    how = model.decoding
    step = max(1, len(survey.digests) // TIMED)
    for number in range(0, len(survey.digests), step):
        began_ns = time.thread_time_ns()
        try:
            decode(survey.read(number), how.target, how.limits, scaled=how.scaled)
        except (BadImageError, BrokenImageError):
            continue
        model.decode_time.add(1, time.thread_time_ns() - began_ns)


def balanced(
    batches: Sequence[BatchSpeed], decode_s: float | None, infer_cpu_s: float, place: Place
) -> Balance:
    """What decoders and devices of this machine could do, by the pod's own reckoning.

    On cores there is one runtime of one thread for each; a GPU is one device.

    Args:
        batches: measured of one runtime.
        decode_s: CPU seconds to decode an image of this dataset; None: not measured.
        infer_cpu_s: CPU seconds that an image costs the process of the runtime.
        place: with how many cores, on which device.
    """
    sizes = [batch.batch_size for batch in batches]
    seconds = [batch.latency_s for batch in batches]
    size = worthwhile_sizes(sizes, seconds)[0]
    latency_s = seconds[sizes.index(size)]
    runs = max(1, COUNTED // size)
    infer_ns = int(runs * latency_s * 1e9)
    devices = place.cores if place.on_cores else 1
    device = DeviceWork(
        fit_cost(sizes, seconds, size),
        (BatchTotals(size, runs, (0, infer_ns, 0)),),
        cpu_s=runs * size * infer_cpu_s,
        on_cores=place.on_cores,
    )
    images = runs * size * devices
    work = Work(images=images)
    if decode_s is not None:
        work.pool_images, work.pool_ns = images, int(images * decode_s * 1e9)
    workers = Workers(frontends=1, decode_threads=place.cores, slots=SLOTS, cores=place.cores)
    return balance(work, 1.0, [device] * devices, workers)


def of_pod(stages: dict[str, Any]) -> Speed | None:
    """What a running pod says of itself; None where it says nothing.

    Args:
        stages: its ``/stages`` page, after it has answered a dataset.
    """
    rows = stages.get("stages")
    if not isinstance(rows, list) or stages.get("bottleneck") is None:
        return None
    return Speed(
        machine="the pod's",
        variants=(),
        stages=tuple(
            StageCapacity(
                stage=row["name"],
                seconds_per_image=None if row["busy_ms"] is None else row["busy_ms"] / 1e3,
                workers=row["workers"],
                capacity=row["capacity"],
            )
            for row in rows
        ),
        bottleneck=stages["bottleneck"],
        cores_per_device=None,
        note=str(stages.get("advice") or ""),
    )


def _ordered(order: Order, environment: dict[str, str]) -> Measured:
    command = [sys.executable, "-m", "analyzer.speed_worker"]
    try:
        ran = subprocess.run(  # noqa: S603 (our own module)
            command,
            input=order.model_dump_json(),
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=_ORDER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AnalyzerError(
            f"{order.file}: measuring its speed took over {_ORDER_S:.0f} s"
        ) from None
    if ran.returncode != 0:
        last = (ran.stderr.strip().splitlines() or ["no word"])[-1]
        raise AnalyzerError(f"{order.file}: its speed cannot be measured: {last}")
    return Measured.model_validate_json(ran.stdout)


def _best(batches: Sequence[BatchSpeed]) -> float:
    return max(batch.images_per_second for batch in batches)


def _stages(found: Balance) -> tuple[StageCapacity, ...]:
    """All seven; those that only a pod has are not measured here."""
    here = {stage.name: stage for stage in found.stages if stage.name in ("decode", "infer")}
    return tuple(
        StageCapacity(
            stage=name,
            seconds_per_image=here[name].busy_s if name in here else None,
            workers=here[name].workers if name in here else 0,
            capacity=here[name].capacity if name in here else None,
        )
        for name in STAGES
    )


def note(feed: float | None, place: Place, found: Balance) -> str:
    """What it takes to keep a device busy, and what this machine does; one line."""
    if feed is None or found.bottleneck is None:
        return "no image of the dataset could be decoded"
    device = "instance of one thread" if place.on_cores else "of these"
    limit = f"{found.capacity:.0f} images/s on {place.cores} cores, limited by "
    limit += (
        f"the cores ({found.bottleneck.name} takes most)"
        if found.by_cores
        else (found.bottleneck.name)
    )
    return f"feed one {device} with {feed:.1f} cores; {limit}"
