"""From measurements to medians, ratios within a round, and Markdown."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.page import Section, number, table
from benchmarks.processes import Usage
from benchmarks.side_by_side import priority_text

BARE = "bare loop"
STOCK = "stock KServe"
PLAIN = "plain KServe"
SECTION = Section("measured", "python -m benchmarks")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One system under one load in one round."""

    model: str
    system: str
    concurrency: int  # requests in flight; 0 for the bare loop, which has none
    round: int
    images: int
    images_per_second: float
    p50_ms: float | None
    p99_ms: float | None
    usage: tuple[Usage, ...]
    load_cpu_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One system under one load over all rounds: medians."""

    system: str
    concurrency: int
    images_per_second: float
    slowest: float
    fastest: float
    p50_ms: float | None
    p99_ms: float | None
    to_bare: float | None  # median over rounds of the ratio within a round
    to_stock: float | None  # to the faster of its routes at the same concurrency
    to_plain: float | None


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process of one system under one load over all rounds."""

    system: str
    concurrency: int
    title: str
    cpu_ms_per_image: float  # median
    peak_mib: float  # maximum


@dataclass(frozen=True, slots=True)
class ModelResult:
    """Everything about one model."""

    model: str
    settings: tuple[str, ...]  # sentences: what was tried and chosen beforehand
    measurements: tuple[Measurement, ...]


def rows(measurements: Sequence[Measurement]) -> list[Row]:
    """One row per system and concurrency, in the order they were first measured."""
    return [_row(group, measurements) for group in _groups(measurements)]


def _row(group: Sequence[Measurement], everything: Sequence[Measurement]) -> Row:
    first = group[0]
    speeds = [measured.images_per_second for measured in group]
    return Row(
        system=first.system,
        concurrency=first.concurrency,
        images_per_second=statistics.median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        p50_ms=_median(measured.p50_ms for measured in group),
        p99_ms=_median(measured.p99_ms for measured in group),
        to_bare=_ratio(group, everything, BARE, 0),
        to_stock=_ratio(group, everything, STOCK, first.concurrency),
        to_plain=_ratio(group, everything, PLAIN, first.concurrency),
    )


def _ratio(
    group: Sequence[Measurement], everything: Sequence[Measurement], system: str, concurrency: int
) -> float | None:
    """Median over rounds of the speed relative to ``system`` in the same round."""
    return _median(
        measured.images_per_second / max(speeds)
        for measured in group
        if (speeds := _speeds(everything, system, concurrency, measured.round))
    )


def process_rows(measurements: Sequence[Measurement]) -> list[ProcessRow]:
    """One row per process of every system and concurrency, the load tool last."""
    found = []
    for group in _groups(measurements):
        cpu_ms: dict[str, list[float]] = defaultdict(list)
        peaks: dict[str, list[float]] = defaultdict(list)
        for measured in group:
            for usage in measured.usage:
                cpu_ms[usage.title].append(1e3 * usage.cpu_s / measured.images)
                peaks[usage.title].append(usage.peak_mib)
        first = group[0]
        found += [
            ProcessRow(
                first.system, first.concurrency, title, statistics.median(each), max(peaks[title])
            )
            for title, each in cpu_ms.items()
        ]
        load = statistics.median(1e3 * measured.load_cpu_s / measured.images for measured in group)
        if load:
            found.append(ProcessRow(first.system, first.concurrency, "(load tool)", load, 0.0))
    return found


def _groups(measurements: Iterable[Measurement]) -> Iterator[list[Measurement]]:
    groups: dict[tuple[str, int], list[Measurement]] = defaultdict(list)
    for measured in measurements:
        groups[measured.system, measured.concurrency].append(measured)
    yield from groups.values()


def _speeds(
    everything: Iterable[Measurement], system: str, concurrency: int, number: int
) -> list[float]:
    return [
        measured.images_per_second
        for measured in everything
        if measured.system.startswith(system)
        and (measured.concurrency, measured.round) == (concurrency, number)
    ]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def markdown(results: Sequence[ModelResult], rounds: int, seconds: int) -> list[str]:
    """The section."""
    lines = [
        f"Medians of {rounds} rounds of {seconds} s for each cell; slowest and fastest round in "
        "brackets. Ratios are taken within a round, then the median; 'x stock' is against the "
        "faster of stock KServe's two routes at the same concurrency. "
        f"{priority_text()}",
        "",
        "- **bare loop**: decode and inference on every core, no server, no requests.",
        "- **plain KServe**: a custom predictor as one writes it: Pillow, numpy and the user's own "
        "network.",
        "- **stock KServe**: the same server around Millrace's decoder and serving graph, so that "
        "only the server differs.",
        "- **tuned KServe**: stock KServe with uvloop and without its log lines for every request, "
        "beyond what its options offer.",
        "",
    ]
    for result in results:
        lines += [f"## {result.model}", "", *result.settings, ""]
        lines += [*table(SPEED_HEAD, map(_speed_cells, rows(result.measurements))), ""]
        processes = process_rows(result.measurements)
        lines += [*table(PROCESS_HEAD, map(_process_cells, processes)), ""]
    return lines


SPEED_HEAD = (
    "system", "in flight", "images/s", "p50 ms", "p99 ms", "x bare loop", "x stock", "x plain"
)  # fmt: skip
PROCESS_HEAD = ("system", "in flight", "process", "CPU ms per image", "peak MiB")


def _speed_cells(row: Row) -> tuple[str, ...]:
    speed = f"{row.images_per_second:,.1f} ({row.slowest:,.1f} to {row.fastest:,.1f})"
    return (
        row.system,
        str(row.concurrency or "-"),
        speed,
        number(row.p50_ms, 1),
        number(row.p99_ms, 1),
        number(row.to_bare, 2),
        number(row.to_stock, 2),
        number(row.to_plain, 2),
    )


def _process_cells(row: ProcessRow) -> tuple[str, ...]:
    peak = number(row.peak_mib or None, 0)
    cpu = number(row.cpu_ms_per_image, 2)
    return (row.system, str(row.concurrency or "-"), row.title, cpu, peak)
