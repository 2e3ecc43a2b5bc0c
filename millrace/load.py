"""``millrace load``: loads sent to running pods, and what came of them."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from loadgen import slo
from loadgen.client import Client
from loadgen.connections import require_connections
from loadgen.display import Display
from loadgen.endpoint import parse
from loadgen.errors import LoadError
from loadgen.form import Protocol
from loadgen.images import Image, read_images
from loadgen.labels import with_labels
from loadgen.mlperf import Scene, run_scene
from loadgen.peak import Peak, Trial, find_peak
from loadgen.plan import LONGEST_S, Closed, Load, Open, Plan
from loadgen.preflight import preloaded
from loadgen.prepared import addresses_now
from loadgen.report import Report
from loadgen.sweep import measure_all, ramp, sweep
from millrace.cli import ANSWER_IS_NO
from millrace.load_options import DEFAULT_DURATION_S, STDOUT, Options, with_options
from millrace.load_output import show, show_verdict
from millrace.refusal import Refusal

FIRST_RATE = 50.0
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
HEADER_VALUE = re.compile(r"[\t -~]*")


@click.command(name="load", short_help="send a pod load and measure it")
@with_options
@click.pass_context
def command(context: click.Context, /, **flags: Any) -> None:
    """Send IMAGES (files or folders) to running pods, and measure what comes back.

    A closed loop of --concurrency requests, unless --rate, --sweep, --ramp, --find-peak or
    --scenario says otherwise. Ctrl-C ends it early and still reports. Exit codes: 0 done, 1 an
    objective was missed, no request answered well or not all that were due sent, 2 wrong usage or
    environment, 130 a sweep, ramp or search that Ctrl-C cut short.
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
        raise Refusal(str(error)) from None
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
    if [options.json, options.csv, options.hdr].count(STDOUT) > 1:
        raise LoadError("only one of --json, --csv and --hdr can go to stdout")


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
    if not colon or not HEADER_NAME.fullmatch(name.strip()) or not HEADER_VALUE.fullmatch(value):
        raise LoadError(f"{text!r} is no header: write NAME:VALUE, in ASCII")
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
    loads, reports = _loads(options), list[Report]()
    for load in loads:  # before the first is measured
        require_connections(plan, load)
    with _whatever_comes() as cut:
        with Display(options.progress) as display, Client(plan, display) as client:
            reports.extend(measure_all(client, loads))
        if len(reports) < len(loads):
            raise KeyboardInterrupt
    missed = [
        f"{report.load}: {miss}"
        for report in reports
        for miss in report.misses(objective, options.min_accuracy)
    ]
    _tell(reports, options, {"missed": missed}, cut)
    return not missed


def _find_peak(plan: Plan, options: Options, objective: slo.Slo) -> bool:
    trials: list[Trial] = []
    with _whatever_comes() as cut, Display(options.progress) as display:

        def tried(trial: Trial) -> None:
            trials.append(trial)
            display.tell(str(trial))

        with Client(plan, display) as client:
            first = options.rate or FIRST_RATE
            peak = find_peak(client, objective, first=first, arrival=options.arrival, tried=tried)
        if peak.interrupted:
            raise KeyboardInterrupt
    if cut:
        peak = Peak.so_far(trials)
    reports = [trial.report for trial in trials]
    if reports:
        click.echo(str(peak), err=options.to_stdout)
    _tell(reports, options, {"peak_requests_per_s": peak.rate}, cut)
    return peak.rate > 0


@contextmanager
def _whatever_comes() -> Iterator[list[BaseException]]:
    """What ends a series of measurements early, kept until those before it have been reported."""
    cut: list[BaseException] = []
    try:
        yield cut
    except (LoadError, KeyboardInterrupt) as error:
        cut.append(error)


def _tell(
    reports: Sequence[Report],
    options: Options,
    more: dict[str, Any],
    cut: Sequence[BaseException],
) -> None:
    """Report what there is, then let what cut it short have its way."""
    for error in cut:
        more["error"] = str(error) or "interrupted"
    try:
        if reports:
            show(reports, options, more)
    finally:
        for error in cut:
            raise error


def _run_scenario(plan: Plan, options: Options, objective: slo.Slo | None) -> bool:
    assert options.scenario is not None  # noqa: S101 (for mypy)
    limit = objective.limits[0] if objective is not None and objective.limits else None
    scene = Scene(
        options.scenario,
        options.mlperf_out,
        options.rate,
        limit,
        options.samples_per_query,
        options.concurrency,
    )
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # LoadGen cannot be stopped in any other way
    verdict = run_scene(plan, scene)
    show_verdict(verdict, options)
    accurate = options.min_accuracy is None or (
        verdict.judged > 0 and verdict.right >= options.min_accuracy * verdict.judged
    )
    return verdict.valid and accurate
