"""How fast a model is here: batches of its variants, the stages' capacities, which one limits."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from analyzer import speed_pod
from analyzer.dataset_survey import Progress, Survey
from analyzer.durations import batch_speed
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.local import LocalModel, Place
from analyzer.result import BatchSpeed, Speed, StageCapacity, VariantSpeed
from analyzer.speed_worker import Measured, Order
from model_store.speed import device as machine_name
from predictor.decode import decode
from predictor.errors import BadImageError

TIMED = 64  # images, to learn what decoding takes
# Enough to see how much rounds differ, few enough that loading the model is not most of them.
ROUNDS = 4
P99_TIMING_S = 120.0
_ORDER_S = 600.0


@dataclass(frozen=True, slots=True)
class Timing:
    """How long batches are timed.

    Attributes:
        p99_sizes: of batches whose 99th percentile must have a bound: 400 of them are timed.
        longest_s: for each of these sizes, in all rounds; then it goes without a bound.
    """

    p99_sizes: tuple[int, ...] = ()
    longest_s: float = P99_TIMING_S


DEFAULT_TIMING = Timing()


def measure(
    models: Sequence[LocalModel],
    survey: Survey,
    environment: dict[str, str],
    progress: Progress,
    timing: Timing = DEFAULT_TIMING,
) -> dict[str, Speed]:
    """Measure each model's variant, in rounds through all of them, so that each meets the same.

    What else runs on a machine changes over minutes: were one model timed after the other, that
    would look like a difference between them.

    Args:
        models: those that ran here; what they took to decode is known by then.
        survey: of a dataset, which a pod is asked.
        environment: of the processes that measure, such as the visible GPU.
        progress: told how it goes.
        timing: how long.

    Returns:
        By the models' names.

    Raises:
        AnalyzerError: one cannot be loaded here, or a process that measured failed.
    """
    rounds: list[dict[str, Measured]] = []
    for number in range(ROUNDS):
        rounds.append({})
        for place, model in enumerate(models if number % 2 == 0 else models[::-1]):
            progress("timing batches", number * len(models) + place, ROUNDS * len(models))
            rounds[-1][model.name] = time_batches(model, environment, timing)
    progress("timing batches", ROUNDS * len(models), ROUNDS * len(models))
    found = {}
    for done, model in enumerate(models):
        progress("timing stages", done, len(models))
        found[model.name] = of_model(model, survey, [each[model.name] for each in rounds])
    progress("timing stages", len(models), len(models))
    return found


def time_batches(
    model: LocalModel, environment: dict[str, str], timing: Timing = DEFAULT_TIMING
) -> Measured:
    """One round of one variant's batches, in a process of its own.

    Raises:
        AnalyzerError: it cannot be loaded here, or the process failed.
    """
    order = Order(
        package=model.package.path,
        file=model.variant.file,
        kind=model.place.kind,
        threads=_threads(model),
        p99_sizes=timing.p99_sizes,
        p99_timing_s=timing.longest_s / ROUNDS,
    )
    measured = _ordered(order, environment)
    if measured.error:
        raise AnalyzerError(f"{model.name}: {measured.error}")
    return measured


def _threads(model: LocalModel) -> int:
    return 1 if model.place.on_cores else model.place.cores


def of_model(model: LocalModel, survey: Survey, rounds: Sequence[Measured]) -> Speed:
    """One variant by its rounds, and its stages in a pod.

    Raises:
        AnalyzerError: the pod does not start, or does not answer.
    """
    batches = _batches(rounds)
    decode_s = model.decode_time.seconds_per_image
    variant = VariantSpeed(
        file=model.variant.file,
        precision=model.variant.precision,
        device=model.place.kind,
        threads=_threads(model),
        file_bytes=(model.package.path / model.variant.file).stat().st_size,
        memory_bytes=max((each.memory_bytes or 0 for each in rounds), default=0) or None,
        batches=batches,
    )
    pod = speed_pod.stages(model, survey)
    served = of_pod(pod)
    best = max(batch.images_per_second for batch in batches)
    feed = None if decode_s is None else decode_s * best
    return Speed(
        machine=machine_name(),
        variants=(variant,),
        stages=served.stages if served else (),
        bottleneck=served.bottleneck if served else None,
        cores_per_device=feed,
        note=note(feed, model.place, pod),
    )


def _batches(rounds: Sequence[Measured]) -> tuple[BatchSpeed, ...]:
    """Of the sizes for which there was memory in every round."""
    sizes = set.intersection(*(set(each.seconds) for each in rounds))
    return tuple(
        batch_speed(size, *(each.seconds[size] for each in rounds)) for size in sorted(sizes)
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
    longest_s = _ORDER_S + len(order.p99_sizes) * order.p99_timing_s
    try:
        ran = subprocess.run(  # noqa: S603 (our own module)
            command,
            input=order.model_dump_json(),
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
            timeout=longest_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AnalyzerError(
            f"{order.file}: measuring its speed took over {longest_s:.0f} s"
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
