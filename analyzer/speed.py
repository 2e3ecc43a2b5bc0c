"""How fast a model is here: batches of its variants, the stages' capacities, which one limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from analyzer import speed_pod
from analyzer.dataset_survey import Progress, Survey
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.local import LocalModel, Place
from analyzer.result import Speed, StageCapacity, VariantSpeed
from analyzer.speed_worker import Measured, Order
from model_store.speed import device as machine_name
from predictor.decode import decode
from predictor.errors import BadImageError

TIMED = 64  # images, to learn what decoding takes
_ORDER_S = 600.0


def measure(
    models: Sequence[LocalModel],
    survey: Survey,
    environment: dict[str, str],
    progress: Progress,
) -> dict[str, Speed]:
    """Measure each model's variant by itself, one after the other.

    Args:
        models: those that ran here; what they took to decode is known by then.
        survey: of a dataset, which a pod is asked.
        environment: of the processes that measure, such as the visible GPU.
        progress: told how it goes.

    Returns:
        By the models' names.
    """
    found = {}
    for done, model in enumerate(models):
        progress("speed", done, len(models))
        found[model.name] = of_model(model, survey, environment)
    progress("speed", len(models), len(models))
    return found


def of_model(model: LocalModel, survey: Survey, environment: dict[str, str]) -> Speed:
    """Measure one variant: batches in a process of its own, stages in a pod.

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
    pod = speed_pod.stages(model, survey)
    served = of_pod(pod)
    best = max(batch.images_per_second for batch in measured.batches)
    feed = None if decode_s is None else decode_s * best
    return Speed(
        machine=machine_name(),
        variants=(variant,),
        stages=served.stages if served else (),
        bottleneck=served.bottleneck if served else None,
        cores_per_device=feed,
        note=note(feed, model.place, pod),
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


def note(feed: float | None, place: Place, pod: dict[str, Any]) -> str:
    """What it takes to keep a device busy, and what a pod on this machine could do; one line.

    Args:
        feed: cores; None where decoding was not measured.
        place: of the device.
        pod: what its ``/stages`` says.
    """
    said = []
    if feed is not None:
        device = "instance of one thread" if place.on_cores else "of these"
        said.append(f"feed one {device} with {feed:.1f} cores")
    if pod.get("bottleneck") and pod.get("capacity"):
        limit = f"the cores ({pod['bottleneck']} takes most of them)"
        limit = limit if pod.get("by_cores") else pod["bottleneck"]
        said.append(f"a pod here could do {pod['capacity']:.0f} images/s, limited by {limit}")
    return "; ".join(said) or "no image of the dataset could be decoded"
