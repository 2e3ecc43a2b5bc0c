"""``python -m benchmarks.wire``: what the wire itself costs, decode and inference left out.

Two questions: how many CPU seconds a frontend spends on one v2 binary request against what stock
KServe spends on its JPEG route, and how long the parser holds up the event loop.
"""

from __future__ import annotations

import itertools
import json
import statistics
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from benchmarks.bare import decoded, open_session, serving_graph
from benchmarks.load import require_tools, run_wrk
from benchmarks.models import MODELS, Photo, package
from benchmarks.payloads import prepare
from benchmarks.processes import Meter
from benchmarks.servers import (
    MILLRACE_V2,
    STOCK_BASE64,
    Route,
    Running,
    StockOptions,
    check_answers,
    millrace,
    stock_kserve,
)
from model_store.package import ModelPackage
from predictor.protocol import oip

FOLDER = Path("var/bench-wire")
MODEL = "resnet20_cifar10"  # the cheaper decode and inference are, the more the wire shows
IN_FLIGHT = 16
WARM_UP_S = 1
JPEG_BYTES = 100_000
PARSES = 2_000
STOCK = StockOptions(inline=False, session_threads=1)

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds per image in one round."""

    decode: float
    infer: float
    millrace: float  # the frontend's own, decode included
    stock: float  # the server's, decode and inference included

    @property
    def ratio(self) -> float:
        """Millrace's wire to stock KServe's."""
        return (self.millrace - self.decode) / (self.stock - self.decode - self.infer)


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=6, show_default=True, type=click.IntRange(2), help="Per cell.")
@click.option(
    "--assets",
    default="../shared/assets",
    envvar="MILLRACE_TEST_ASSETS",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of the models and photos; MILLRACE_TEST_ASSETS says the same.",
)
def main(rounds: int, seconds: int, assets: Path) -> None:
    """Measure the wire and print Markdown."""
    click.echo(_parser_table())
    require_tools()
    store = FOLDER / "store"
    packaged = package(MODELS[MODEL], assets, store)
    photos = MODELS[MODEL].photos(assets, FOLDER / "photos")
    costs = []
    for number in range(1, rounds + 1):
        costs.append(_round(packaged, store, photos, seconds))
        progress.print(f"round {number}: {costs[-1]}, ratio {costs[-1].ratio:.2f}")
    click.echo(_cost_table(costs))


def _round(packaged: ModelPackage, store: Path, photos: Sequence[Photo], seconds: int) -> Cost:
    decode, infer = _bare(packaged, [photo.file.read_bytes() for photo in photos], seconds)
    with millrace(MODELS[MODEL], store, FOLDER / "millrace.log") as running:
        ours = _cpu_ms(running, MILLRACE_V2, photos, seconds, title="millrace: frontend")
    with stock_kserve(packaged.path, MODEL, STOCK, FOLDER / "stock.log") as running:
        stock = _cpu_ms(running, STOCK_BASE64, photos, seconds, title="KServe")
    return Cost(decode, infer, ours, stock)


def _bare(packaged: ModelPackage, images: Sequence[bytes], seconds: int) -> tuple[float, float]:
    """CPU milliseconds to decode one image, and to infer one."""
    target = packaged.manifest.input
    session = open_session(serving_graph(packaged), threads=1)
    pixels = np.stack([decoded(image, target) for image in images])
    encoded, rows = itertools.cycle(images), itertools.cycle(range(len(images)))
    names = ["indices", "scores"]
    return (
        _spent(lambda: decoded(next(encoded), target), seconds / 2),
        _spent(lambda: session.run(names, {"image": pixels[[next(rows)]]}), seconds / 2),
    )


def _spent(work: Callable[[], object], seconds: float) -> float:
    work()
    count, began, until = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        work()
        count += 1
    return 1e3 * (time.process_time() - began) / count


def _cpu_ms(
    running: Running, route: Route, photos: Sequence[Photo], seconds: int, title: str
) -> float:
    jpegs = [photo.file.read_bytes() for photo in photos]
    requests = prepare(route.payload, MODEL, jpegs, FOLDER / route.payload.__name__)
    check_answers(running, route, requests, photos)
    files = [request.file for request in requests]
    run_wrk(running.http_port, files, IN_FLIGHT, WARM_UP_S)
    meter = Meter(running.server.family())
    load = run_wrk(running.http_port, files, IN_FLIGHT, seconds)
    cpu_s = sum(usage.cpu_s for usage in meter.read() if usage.title.startswith(title))
    return 1e3 * cpu_s / load.requests


def _cost_table(costs: Sequence[Cost]) -> str:
    def median(read: Callable[[Cost], float]) -> str:
        return f"{statistics.median(map(read, costs)):.3f}"

    ratios = [cost.ratio for cost in costs]
    return "\n".join(
        [
            f"CPU milliseconds per single-image request ({MODEL}, {IN_FLIGHT} in flight, medians "
            f"of {len(costs)} rounds):",
            "",
            "| | all | decode | inference | the wire |",
            "| --- | --- | --- | --- | --- |",
            f"| Millrace's frontend, v2 binary | {median(lambda c: c.millrace)} | "
            f"{median(lambda c: c.decode)} | elsewhere | "
            f"{median(lambda c: c.millrace - c.decode)} |",
            f"| stock KServe, v1 base64 | {median(lambda c: c.stock)} | "
            f"{median(lambda c: c.decode)} | {median(lambda c: c.infer)} | "
            f"{median(lambda c: c.stock - c.decode - c.infer)} |",
            "",
            f"Ratio within a round: {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}).",
        ]
    )


def _parser_table() -> str:
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
