"""The flags of ``millrace load``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from loadgen.arrivals import ARRIVALS, Arrival
from loadgen.form import PROTOCOLS, Protocol
from loadgen.mlperf import SCENARIOS, Scenario
from loadgen.plan import LONGEST_S, MOST_IN_FLIGHT, MOST_RATE, MOST_SEED
from millrace.numbers import Number

DEFAULT_DURATION_S = 10.0
MOST_PROCESSES = 256  # of the client: as many cores as one machine is likely to have
STDOUT = Path("-")

_SECONDS = Number(0, LONGEST_S, above=True)


@dataclass(frozen=True, slots=True)
class Options:
    """The flags, as they were given."""

    images: tuple[str, ...]
    endpoint: tuple[str, ...]
    protocol: Protocol | None
    model: str | None
    by_ref: bool
    images_per_request: int
    labels: str | None
    min_accuracy: float | None
    concurrency: int
    rate: float | None
    arrival: Arrival
    sweep: str | None
    ramp: str | None
    find_peak: bool
    slo: tuple[str, ...]
    duration: float | None
    requests: int
    warm_up: float
    timeout: float
    processes: int
    connections: int
    priority: int
    header: tuple[str, ...]
    seed: int
    resolve_every: float
    json: Path | None
    csv: Path | None
    hdr: Path | None
    progress: bool | None
    scenario: Scenario | None
    mlperf_out: Path
    samples_per_query: int

    @property
    def to_stdout(self) -> bool:
        """Whether a result goes there, in place of the table."""
        return STDOUT in (self.json, self.csv, self.hdr)


OPTIONS: tuple[Callable[..., Any], ...] = (
    click.argument("images", nargs=-1),
    click.option(
        "--endpoint",
        multiple=True,
        default=("http://127.0.0.1:8080",),
        show_default=True,
        help="http://host:port, https://…, grpc://host:port; repeat it for many pods, or "
        "dns+http://name:port for every address of a name, followed as they change",
    ),
    click.option("--protocol", type=click.Choice(PROTOCOLS), help="default v2, grpc for grpc://"),
    click.option("--model", help="its name; default: the only one there is"),
    click.option("--by-ref", is_flag=True, help="IMAGES are names the pod preloaded; none: all"),
    click.option("--images-per-request", type=Number(1, 10_000, whole=True),
                 default=1, show_default=True),
    click.option("--labels", metavar="CSV|folders", help="check answers: against a table, or the "
                 "folders the images lie in"),
    click.option("--min-accuracy", type=Number(0, 1), help="exit with 1 below it"),
    click.option(
        "--concurrency",
        type=Number(1, MOST_IN_FLIGHT, whole=True),
        default=16,
        show_default=True,
        help="closed loop: so many requests in flight at each endpoint",
    ),
    click.option(
        "--rate",
        type=Number(0, MOST_RATE, above=True),
        help="open loop: so many requests a second in all; where --find-peak begins",
    ),
    click.option("--arrival", type=click.Choice(ARRIVALS), default="poisson", show_default=True,
                 help="of open loops"),
    click.option("--sweep", metavar="N,N,…", help="closed loops of several concurrencies"),
    click.option("--ramp", metavar="FROM:TO:STEP", help="open loops of rising rates"),
    click.option("--find-peak", is_flag=True, help="the highest rate that holds every --slo"),
    click.option("--slo", multiple=True, metavar="p99=50ms",
                 help="objective; also mean=, max=, errors=0.5%; exit with 1 where it is missed"),
    click.option("--duration", type=_SECONDS, metavar="SECONDS",
                 help=f"of each measurement; default {DEFAULT_DURATION_S:g}, or until --requests"),
    click.option("--requests", type=Number(0, 1e9, whole=True), default=0,
                 help="end each measurement after so many"),
    click.option("--warm-up", type=Number(0, LONGEST_S), default=1.0, show_default=True,
                 metavar="SECONDS", help="before each measurement, not counted"),
    click.option("--timeout", type=_SECONDS, default=30.0,
                 show_default=True, metavar="SECONDS", help="a request has failed after that"),
    click.option("--processes", type=Number(0, MOST_PROCESSES, whole=True), default=0,
                 show_default=True, help="of this client; 0: as many as the load needs"),
    click.option("--connections", type=Number(0, MOST_IN_FLIGHT, whole=True), default=0,
                 help="for each endpoint and process; 0: as many as are needed"),
    click.option("--priority", type=Number(0, 2**31 - 1, whole=True), default=0,
                 help="v2 parameter; 0: none"),
    click.option("--header", multiple=True, metavar="NAME:VALUE", help="sent with every request"),
    click.option("--seed", type=Number(0, MOST_SEED, whole=True), default=0,
                 help="of Poisson arrivals"),
    click.option("--resolve-every", type=_SECONDS, default=5.0,
                 show_default=True, metavar="SECONDS", help="how often dns+ names are looked up"),
    click.option("--json", type=click.Path(path_type=Path), help="write everything; - is stdout"),
    click.option("--csv", type=click.Path(path_type=Path), help="one row an endpoint; - is stdout"),
    click.option("--hdr", type=click.Path(path_type=Path),
                 help="HdrHistogram percentiles (.hgrm); - is stdout"),
    click.option("--progress/--no-progress", default=None, help="default: on a terminal"),
    click.option("--scenario", type=click.Choice(SCENARIOS), help="MLPerf LoadGen sets the pace"),
    click.option("--mlperf-out", type=click.Path(path_type=Path), default=Path("mlperf"),
                 show_default=True, help="folder for LoadGen's logs"),
    click.option("--samples-per-query", type=Number(1, 1e6, whole=True), default=8,
                 show_default=True, help="of the multi-stream scenario"),
)  # fmt: skip


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The flags of ``millrace load``, for a click command."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function
