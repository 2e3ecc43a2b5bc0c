"""What a pod says of its stages (``GET /v2/models/{model}/stages``), as values to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter


def one_line(text: str) -> str:
    """``text`` without line breaks and control characters, which a terminal would obey."""
    return "".join(sign if sign.isprintable() else "?" for sign in " ".join(text.split()))


Line = Annotated[str, AfterValidator(one_line)]


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the seven stages; ``None`` is a number that was not measured yet.

    Args:
        name: ``receive`` … ``respond``.
        capacity: images/s that its workers could do.
        busy_ms: mean milliseconds of one worker per image.
        utilisation: of its workers' time, 0 to 1.
        workers: how many of ``worker``.
        worker: what does the work, singular: ``decode thread``.
    """

    name: Line
    capacity: float | None
    busy_ms: float | None
    utilisation: float | None
    workers: int | None
    worker: Line


@dataclass(frozen=True, slots=True)
class Cores:
    """All CPU time of the pod per image, against the cores it has; units as in ``Stage``."""

    count: float | None
    capacity: float | None
    busy_ms: float | None
    utilisation: float | None


@dataclass(frozen=True, slots=True)
class Queue:
    """Slots of the pod, those taken, and images accepted but not handed to an instance yet."""

    slots: int | None
    taken: int | None
    coming: int | None


@dataclass(frozen=True, slots=True)
class Instance:
    """One process on one device; ``queue`` in images, ``busy_ratio`` 0 to 1."""

    instance: int
    device: Line
    up: bool
    queue: int | None
    busy_ratio: float | None
    images_per_second: float | None
    mean_batch: float | None
    max_batch_size: int | None


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of requests."""

    p50: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class StagesReport:
    """One model version of one pod, over the last ``window_s`` seconds.

    Args:
        bottleneck: the stage with the lowest capacity.
        advice: a sentence: what limits, and what would help.
        images_per_second: answered.
        capacity: images/s of the bottleneck.
        headroom: images/s left of it.
        batch_sizes: batches run, by their size.
    """

    name: Line
    version: Line
    window_s: float | None
    bottleneck: Line | None
    advice: Line | None
    images_per_second: float | None
    capacity: float | None
    headroom: float | None
    latency_ms: Latency
    stages: tuple[Stage, ...]
    cores: Cores
    queue: Queue
    instances: tuple[Instance, ...]
    batch_sizes: dict[int, int]


@dataclass(frozen=True, slots=True)
class Sight:
    """What is known of one pod now: its report, or the problem, or neither before the first answer.

    Args:
        url: the pod's.
        report: of its last answer, when that was one.
        problem: one line.
        silent_s: seconds since it last answered, where it once did.
    """

    url: str
    report: StagesReport | None = None
    problem: str | None = None
    silent_s: float | None = None


_REPORT = TypeAdapter(StagesReport)


def read_report(body: str) -> StagesReport:
    """The report in a response's body.

    Raises:
        ValueError: it is none (pydantic's ValidationError names the fields).
    """
    return _REPORT.validate_json(body)
