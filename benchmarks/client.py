"""``python -m benchmarks.client``: `millrace load` beside wrk, at the very same requests."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.idle_network import idle_model
from benchmarks.load import require_tools, run_wrk
from benchmarks.models import MODELS, Model, package
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.servers import millrace
from examples.server import ServerError
from loadgen.client import Client
from loadgen.form import Form
from loadgen.images import Image
from loadgen.plan import Closed, Plan
from loadgen.requests import render

SECTION = Section("client", "python -m benchmarks.client")
FOLDER = Path("var/bench-client")
IN_FLIGHT = 16
# A pod that an emulated device limits, and not the cores that it shares with both clients.
DEVICE, SIZE = "emulated:4+0.5", 32
# What is to be reached.
SUSTAINED, AGREES = 0.8, 0.03

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw."""

    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: both clients, one after the other."""

    wrk: Seen
    ours: Seen


@click.command()
@click.option("--seconds", default=6, show_default=True, type=click.IntRange(2), help="Per run.")
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1))
@options.write
@options.assets
def main(*, seconds: int, rounds: int, write: bool, assets: Path) -> None:
    """Measure and print Markdown."""
    lines = [
        "## The load client",
        "",
        f"`millrace load` and wrk in turn, {rounds} rounds of {seconds} s each, {IN_FLIGHT} in "
        "flight, the very same requests (v2 binary). Ratios are ours ÷ wrk's: the median of those "
        "of each round. Both share the cores with the server: where those are the limit, what a "
        "client costs lowers what it measures. The last pod waits for an emulated device instead.",
    ]
    try:
        require_tools()
        idle = idle_model(MODELS["resnet20_cifar10"], SIZE, FOLDER)
        cases = [*((model, ()) for model in MODELS.values()), (idle, ("--devices", DEVICE))]
        for model, settings in cases:
            title = " ".join((model.name, *settings[1:]))
            lines += ["", f"### {title}", "", *_model(model, settings, assets, rounds, seconds)]
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    SECTION.publish(lines, write=write)


def _model(
    model: Model, settings: tuple[str, ...], assets: Path, rounds: int, seconds: int
) -> list[str]:
    package(model, assets, FOLDER / "store")
    images = tuple(
        Image(photo.file.name, photo.file.read_bytes())
        for photo in model.photos(assets, FOLDER / "photos")
    )
    pairs = _measure(model, settings, images, rounds, seconds)
    ratios = [
        statistics.median(getattr(each.ours, name) / getattr(each.wrk, name) for each in pairs)
        for name in ("per_second", "p50_ms", "p99_ms")
    ]
    rate, p50, p99 = ratios
    return [
        *findings(
            [
                Finding(f"≥ {SUSTAINED:.0%} of what wrk does", f"{rate:.3f}", rate >= SUSTAINED),
                Finding(
                    f"figures within {AGREES:.0%} of wrk's",
                    f"requests/s {rate:.3f}, p50 {p50:.3f}, p99 {p99:.3f}",
                    all(abs(ratio - 1) <= AGREES for ratio in ratios),
                ),
            ]
        ),
        "",
        *table(
            ("client", "requests/s", "p50 ms", "p99 ms"),
            [_cells(name, [getattr(each, name) for each in pairs]) for name in ("wrk", "ours")],
        ),
    ]


def _measure(
    model: Model, settings: tuple[str, ...], images: tuple[Image, ...], rounds: int, seconds: int
) -> list[Pair]:
    """Each round begins with the client that the round before it ended with."""
    files = []
    for place, request in enumerate(render(images, Form("v2", model.name))):
        files.append(FOLDER / f"{model.name}-{place}.request")
        files[-1].write_bytes(request.head("localhost") + bytes(request.body))
    with millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings) as running:
        endpoint = f"http://127.0.0.1:{running.http_port}"
        load = Closed(IN_FLIGHT)
        plan = Plan((endpoint,), images, load, model=model.name, duration_s=seconds)
        with Client(plan) as client:

            def wrk() -> Seen:
                seen = run_wrk(running.http_port, files, IN_FLIGHT, seconds)
                return Seen(seen.requests / seen.seconds, seen.p50_ms, seen.p99_ms)

            def ours() -> Seen:
                report = client.measure(load)
                if report.total.failed:
                    raise BenchmarkError(f"millrace load saw failures: {report.total.outcomes}")
                latency = report.total.latency  # corrected, as wrk corrects its own
                p50, p99 = (latency.percentile_us(share) / 1e3 for share in (50, 99))
                return Seen(report.rate, p50, p99)

            pairs = []
            for round_number in range(rounds):
                if round_number % 2:
                    mine, other = ours(), wrk()
                else:
                    other, mine = wrk(), ours()
                pairs.append(Pair(other, mine))
                progress.print(
                    f"{model.name}: wrk {other.per_second:,.0f}, ours {mine.per_second:,.0f}"
                )
    return pairs


def _cells(name: str, seen: list[Seen]) -> tuple[str, ...]:
    title = "`millrace load`" if name == "ours" else name
    rates = [each.per_second for each in seen]
    return (
        title,
        f"{number(statistics.median(rates), 1)} ({number(min(rates), 1)} to "
        f"{number(max(rates), 1)})",
        number(statistics.median(each.p50_ms for each in seen), 1),
        number(statistics.median(each.p99_ms for each in seen), 1),
    )


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.client")
