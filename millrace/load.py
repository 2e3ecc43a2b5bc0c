"""``millrace load``: loads sent to running pods, and what came of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import click

from loadgen import files, slo
from loadgen.arrivals import ARRIVALS, Arrival
from loadgen.client import Client
from loadgen.display import Display
from loadgen.endpoint import parse
from loadgen.errors import LoadError
from loadgen.form import PROTOCOLS, Protocol
from loadgen.images import Image, read_images
from loadgen.labels import with_labels
from loadgen.mlperf import SCENARIOS, Scenario, Scene, Verdict, run_scene
from loadgen.peak import find_peak
from loadgen.plan import Closed, Load, Open, Plan
from loadgen.preflight import preloaded
from loadgen.prepared import addresses_now
from loadgen.report import Report
from loadgen.sweep import measure_all, ramp, sweep
from loadgen.table import tables
from millrace.cli import ANSWER_IS_NO, CANNOT
from millrace.output import print_table

DEFAULT_DURATION_S = 10.0
LONGEST_S = 86_400.0  # where --requests says when to end
FIRST_RATE = 50.0
STDOUT = Path("-")


class _Refusal(click.ClickException):
    """What cannot be done, in the words of every other command."""

    exit_code = CANNOT

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"millrace: {self.message}", file=file, err=file is None)


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


_OPTIONS: tuple[Callable[..., Any], ...] = (
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
    click.option("--images-per-request", type=click.IntRange(min=1), default=1, show_default=True),
    click.option("--labels", metavar="CSV|folders", help="check answers: against a table, or the "
                 "folders the images lie in"),
    click.option("--min-accuracy", type=click.FloatRange(0, 1), help="exit with 1 below it"),
    click.option(
        "--concurrency",
        type=click.IntRange(min=1),
        default=16,
        show_default=True,
        help="closed loop: so many requests in flight at each endpoint",
    ),
    click.option(
        "--rate",
        type=click.FloatRange(0, min_open=True),
        help="open loop: so many requests a second in all; where --find-peak begins",
    ),
    click.option("--arrival", type=click.Choice(ARRIVALS), default="poisson", show_default=True,
                 help="of open loops"),
    click.option("--sweep", metavar="N,N,…", help="closed loops of several concurrencies"),
    click.option("--ramp", metavar="FROM:TO:STEP", help="open loops of rising rates"),
    click.option("--find-peak", is_flag=True, help="the highest rate that holds every --slo"),
    click.option("--slo", multiple=True, metavar="p99=50ms",
                 help="objective; also mean=, max=, errors=0.5%; exit with 1 where it is missed"),
    click.option("--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
                 help=f"of each measurement; default {DEFAULT_DURATION_S:g}, or until --requests"),
    click.option("--requests", type=click.IntRange(min=0), default=0,
                 help="end each measurement after so many"),
    click.option("--warm-up", type=click.FloatRange(0), default=1.0, show_default=True,
                 metavar="SECONDS", help="before each measurement, not counted"),
    click.option("--timeout", type=click.FloatRange(0, min_open=True), default=30.0,
                 show_default=True, metavar="SECONDS", help="a request has failed after that"),
    click.option("--processes", type=click.IntRange(min=0), default=0, show_default=True,
                 help="of this client; 0: as many as the load needs"),
    click.option("--connections", type=click.IntRange(min=0), default=0,
                 help="for each endpoint and process; 0: as many as are needed"),
    click.option("--priority", type=click.IntRange(min=0), default=0, help="v2 parameter; 0: none"),
    click.option("--header", multiple=True, metavar="NAME:VALUE", help="sent with every request"),
    click.option("--seed", type=int, default=0, help="of Poisson arrivals"),
    click.option("--resolve-every", type=click.FloatRange(0, min_open=True), default=5.0,
                 show_default=True, metavar="SECONDS", help="how often dns+ names are looked up"),
    click.option("--json", type=click.Path(path_type=Path), help="write everything; - is stdout"),
    click.option("--csv", type=click.Path(path_type=Path), help="one row an endpoint; - is stdout"),
    click.option("--hdr", type=click.Path(path_type=Path), help="HdrHistogram percentiles (.hgrm)"),
    click.option("--progress/--no-progress", default=None, help="default: on a terminal"),
    click.option("--scenario", type=click.Choice(SCENARIOS), help="MLPerf LoadGen sets the pace"),
    click.option("--mlperf-out", type=click.Path(path_type=Path), default=Path("mlperf"),
                 show_default=True, help="folder for LoadGen's logs"),
    click.option("--samples-per-query", type=click.IntRange(min=1), default=8, show_default=True,
                 help="of the multi-stream scenario"),
)  # fmt: skip


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command(name="load", short_help="send a pod load and measure it")
@_with_options
@click.pass_context
def command(context: click.Context, /, **flags: Any) -> None:
    """Send IMAGES (files or folders) to running pods, and measure what comes back.

    A closed loop of --concurrency requests, unless --rate, --sweep, --ramp, --find-peak or
    --scenario says otherwise. Ctrl-C ends it early and still reports. Exit codes: 0 done, 1 an
    objective was missed or no request answered well, 2 wrong usage or environment.
    """
    options = Options(**flags)
    try:
        objective = slo.parse(options.slo)
        _check(options, objective)
        plan = _plan(options)
        if options.scenario is not None:
            held = _run_scenario(plan, options, objective)
        elif options.find_peak and objective is not None:
            held = _find_peak(plan, options, objective)
        else:
            held = _measure(plan, options, objective)
    except LoadError as error:
        raise _Refusal(str(error)) from None
    if not held:
        context.exit(ANSWER_IS_NO)


def _check(options: Options, objective: slo.Slo | None) -> None:
    ways = {
        "--sweep": options.sweep,
        "--ramp": options.ramp,
        "--find-peak": options.find_peak,
        "--scenario": options.scenario,
    }
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        raise LoadError(f"choose one of {' and '.join(given)}")
    if options.find_peak and (objective is None or not objective.limits):
        raise LoadError("--find-peak needs an objective: --slo p99=50ms")
    if options.min_accuracy is not None and options.labels is None:
        raise LoadError("--min-accuracy needs --labels")
    if STDOUT == options.json == options.csv:
        raise LoadError("only one of --json and --csv can go to stdout")


def _plan(options: Options) -> Plan:
    by_grpc = all(
        endpoint.removeprefix("dns+").startswith("grpc://") for endpoint in options.endpoint
    )
    protocol: Protocol = options.protocol or ("grpc" if by_grpc else "v2")
    headers = dict(_header(text) for text in options.header)
    duration_s = options.duration or (LONGEST_S if options.requests else DEFAULT_DURATION_S)
    return Plan(
        endpoints=options.endpoint,
        images=_images(options, protocol, headers),
        load=_loads(options)[0],
        protocol=protocol,
        model=options.model,
        images_per_request=options.images_per_request,
        duration_s=duration_s,
        requests=options.requests,
        warm_up_s=options.warm_up,
        timeout_s=options.timeout,
        processes=options.processes,
        connections=options.connections,
        priority=options.priority,
        headers=headers,
        resolve_every_s=options.resolve_every,
        seed=options.seed,
    )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or any(mark in text for mark in "\r\n"):
        raise LoadError(f"{text!r} is no header: write NAME:VALUE")
    return name.strip(), value.strip()


def _images(options: Options, protocol: Protocol, headers: dict[str, str]) -> tuple[Image, ...]:
    if options.by_ref:
        where = addresses_now(parse(options.endpoint[0], protocol))[0]
        images = preloaded(where, options.images, headers)
    elif options.images:
        images = read_images(Path(image) for image in options.images)
    else:
        raise LoadError("there are no images to send: name files or folders, or give --by-ref")
    return with_labels(images, options.labels) if options.labels else images


def _loads(options: Options) -> Sequence[Load]:
    if options.sweep:
        return sweep(options.sweep)
    if options.ramp:
        return ramp(options.ramp, options.arrival)
    if options.rate:
        return (Open(options.rate, options.arrival),)
    return (Closed(options.concurrency),)


def _measure(plan: Plan, options: Options, objective: slo.Slo | None) -> bool:
    with Display(options.progress) as display, Client(plan, display) as client:
        reports = list(measure_all(client, _loads(options)))
    missed = [
        f"{report.load}: {miss}"
        for report in reports
        for miss in report.misses(objective, options.min_accuracy)
    ]
    _show(reports, options, {"missed": missed})
    return not missed


def _find_peak(plan: Plan, options: Options, objective: slo.Slo) -> bool:
    with Display(options.progress) as display, Client(plan, display) as client:
        peak = find_peak(
            client,
            objective,
            first=options.rate or FIRST_RATE,
            arrival=options.arrival,
            tried=lambda trial: display.tell(
                f"{trial.report.load}: " + ("; ".join(trial.misses) or "holds")
            ),
        )
    _show([trial.report for trial in peak.trials], options, {"peak_requests_per_s": peak.rate})
    click.echo(str(peak), err=_to_stdout(options))
    return peak.rate > 0


def _run_scenario(plan: Plan, options: Options, objective: slo.Slo | None) -> bool:
    assert options.scenario is not None  # noqa: S101 (for mypy)
    limit = objective.limits[0] if objective is not None and objective.limits else None
    scene = Scene(
        options.scenario,
        options.mlperf_out,
        options.rate,
        limit,
        options.samples_per_query,
    )
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # LoadGen cannot be stopped in any other way
    verdict = run_scene(plan, scene)
    _show_verdict(verdict, options)
    accurate = options.min_accuracy is None or (
        verdict.judged > 0 and verdict.right >= options.min_accuracy * verdict.judged
    )
    return verdict.valid and accurate


def _show_verdict(verdict: Verdict, options: Options) -> None:
    if options.json is not None:
        _write(options.json, files.verdict_json(verdict))
    if not _to_stdout(options):
        click.echo(verdict.text)
        click.echo(f"samples: {verdict.samples}, failed: {sum(verdict.failed.values())}")
        if verdict.judged:
            click.echo(f"accuracy: {verdict.right / verdict.judged:.2%} of {verdict.judged}")


def _show(reports: Sequence[Report], options: Options, more: dict[str, Any]) -> None:
    """Files first: a table that cannot be printed must not cost the results."""
    if options.json is not None:
        _write(options.json, files.to_json(reports, **more))
    if options.csv is not None:
        _write(options.csv, files.to_csv(reports))
    if options.hdr is not None:
        files.write(options.hdr, files.to_hdr(reports))
    if not _to_stdout(options):
        for table in tables(reports):
            print_table(table)
    for report in reports:
        for note in report.notes:
            click.echo(f"{report.load}: {note}", err=True)
    for miss in more.get("missed", ()):
        click.echo(f"missed: {miss}", err=True)


def _to_stdout(options: Options) -> bool:
    return STDOUT in (options.json, options.csv)


def _write(file: Path, content: bytes) -> None:
    if file == STDOUT:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        files.write(file, content)
