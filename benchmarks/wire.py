"""``python -m benchmarks.wire``: what the wire itself costs, decode and inference left out.

Two questions: how many CPU seconds a frontend spends on one v2 binary request against what stock
KServe spends on one of its JPEG route, and how long the parser holds up the event loop.

Subtracting decode and inference as they cost alone would not do: beside other work they cost half
as much again. So they are left out: Millrace gets pixels, which need no decoding, for a network of
one mean and one product; KServe gets JPEGs, and its predictor does nothing with them.
"""

from __future__ import annotations

import json
import statistics
import struct
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from benchmarks import options
from benchmarks.idle_network import idle_model
from benchmarks.load import require_tools, run_wrk
from benchmarks.models import MODELS, Model, package
from benchmarks.payloads import Payload, prepare, v1_base64, v2_pixels
from benchmarks.processes import Meter
from benchmarks.servers import Running, StockOptions, millrace, stock_kserve
from benchmarks.side_by_side import priority_text
from model_store.package import ModelPackage
from predictor.protocol import oip

FOLDER = Path("var/bench-wire")
IN_FLIGHT = 16
WARM_UP_S = 1
JPEG_BYTES = 100_000
PARSES = 2_000
# Where stock KServe computes, nothing is computed: on the event loop it is cheaper, in threads it
# is faster with networks that do compute.
INLINE = StockOptions(inline=True, session_threads=1, idle=True)
THREADS = StockOptions(inline=False, session_threads=1, idle=True)

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Case:
    """Images of one kind, and a network of their size."""

    title: str
    model: Model  # whose photos are sent
    size: int


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds per single-image request in one round."""

    millrace: float  # the frontend
    inline: float  # stock KServe, all of it
    threads: float

    def __str__(self) -> str:
        """As progress shows it."""
        return f"{self.millrace:.3f}, {self.inline:.3f}, {self.threads:.3f}"


CASES = (
    Case("photos", MODELS["mobilenet_v2"], 224),
    Case("thumbnails", MODELS["resnet20_cifar10"], 32),
)


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=4, show_default=True, type=click.IntRange(2), help="Per cell.")
@options.assets
def main(rounds: int, seconds: int, assets: Path) -> None:
    """Measure the wire and print Markdown."""
    require_tools()
    click.echo(_parser_line())
    rows = [_row(case, rounds, seconds, assets) for case in CASES]
    click.echo(
        f"CPU milliseconds per single-image request, {IN_FLIGHT} in flight, medians of {rounds} "
        f"rounds of alternating servers; ratios within a round. {priority_text()}\n"
    )
    click.echo(
        "| images | Millrace's frontend, v2 binary | stock KServe, v1 base64, on the event loop "
        "| ratio | in threads | ratio |\n| --- | --- | --- | --- | --- | --- |"
    )
    click.echo("\n".join(rows))


def _row(case: Case, rounds: int, seconds: int, assets: Path) -> str:
    photos = case.model.photos(assets, FOLDER / case.title)
    model = idle_model(case.model, case.size, FOLDER)
    packaged = package(model, assets, FOLDER / "store")
    jpegs = [photo.file.read_bytes() for photo in photos]
    costs = []
    for number in range(1, rounds + 1):
        costs.append(_round(model, packaged, jpegs, seconds))
        progress.print(f"{case.title}, round {number}: {costs[-1]}")
    cells = [
        _median(cost.millrace for cost in costs),
        _median(cost.inline for cost in costs),
        _median(cost.millrace / cost.inline for cost in costs),
        _median(cost.threads for cost in costs),
        _median(cost.millrace / cost.threads for cost in costs),
    ]
    kilobytes = statistics.mean(map(len, jpegs)) / 1e3
    pixels = 3 * case.size**2 / 1e3
    what = f"{case.title}: JPEGs of {kilobytes:.0f} KB, {pixels:.0f} KB of pixels"
    return "| " + " | ".join([what, *cells]) + " |"


def _round(model: Model, packaged: ModelPackage, jpegs: Sequence[bytes], seconds: int) -> Cost:
    target = packaged.manifest.input

    def pixels(model: str, jpeg: bytes) -> bytes:
        return v2_pixels(model, jpeg, (target.width, target.height))

    with millrace(model, FOLDER / "store", FOLDER / "millrace.log") as running:
        ours = _cpu_ms(running, packaged.name, pixels, jpegs, seconds, "millrace: frontend")
    stock = []
    for how in (INLINE, THREADS):
        log = FOLDER / "stock.log"
        with stock_kserve(packaged.path, packaged.name, how, log) as running:
            stock.append(_cpu_ms(running, packaged.name, v1_base64, jpegs, seconds, "KServe"))
    return Cost(ours, *stock)


def _cpu_ms(
    running: Running,
    model: str,
    payload: Payload,
    jpegs: Sequence[bytes],
    seconds: int,
    title: str,
) -> float:
    requests = prepare(payload, model, jpegs, FOLDER / payload.__name__)
    files = [request.file for request in requests]
    run_wrk(running.http_port, files, IN_FLIGHT, WARM_UP_S)
    meter = Meter(running.server.family())
    load = run_wrk(running.http_port, files, IN_FLIGHT, seconds)
    cpu_s = sum(usage.cpu_s for usage in meter.read() if usage.title.startswith(title))
    return 1e3 * cpu_s / load.requests


def _median(values: Iterable[float]) -> str:
    return f"{statistics.median(values):.2f}"


def _parser_line() -> str:
    """How long the parser holds up the event loop with one JPEG of ``JPEG_BYTES``."""
    jpeg = bytes(JPEG_BYTES)
    tensor = struct.pack("<I", len(jpeg)) + jpeg
    described = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"binary_data_size": len(tensor)},
    }
    header = json.dumps({"id": "bench", "inputs": [described]}).encode()
    body = header + tensor
    headers = {oip.HEADER_LENGTH: str(len(header)).encode()}
    took_us = []
    for _ in range(PARSES):
        began = time.perf_counter_ns()
        oip.parse(body, headers, 256)
        took_us.append((time.perf_counter_ns() - began) / 1e3)
    p50, p99 = np.percentile(took_us, [50, 99])
    return (
        f"v2 binary, one JPEG of {JPEG_BYTES // 1000} KB: the parser takes {p50:.1f} µs "
        f"(median of {PARSES}; p99 {p99:.1f} µs) and copies no byte of it.\n"
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.wire")
