"""``python -m benchmarks.overload``: what a pod does with more than it can do.

One pod of MobileNetV2, whose requests have a bound on their time: its peak in a closed loop; then,
in an open loop, 0.7 of the peak for the latency, and three times the peak for the goodput.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from benchmarks.census import Census, census
from benchmarks.errors import BenchmarkError
from benchmarks.load import LoadResult, require_tools, run_wrk
from benchmarks.models import MODELS, package
from benchmarks.open_loop import REFUSED, Answers, run_open_loop
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.payloads import prepare
from benchmarks.pod import batch_ms, costs, scrape
from benchmarks.servers import MILLRACE_V2, Running, check_answers, millrace
from examples.server import ServerError

SECTION = Section("overload", "python -m benchmarks.overload")
FOLDER = Path("var/bench-overload")
IN_FLIGHT = (8, 16, 32)  # in the closed loop; the best one is the peak
WARM_UP_S = 2
STEADY_SHARE = 0.7
SPARE_WAIT = 2.0  # open-loop clients reckon with answers this many times later than the bound
# What is to be reached.
GOODPUT, LATENCY, REFUSAL_MS, GROWTH = 0.95, 2.0, 10.0, 1.05

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Load:
    """How much, and for how long."""

    seconds: float  # of each open loop
    peak_seconds: int  # of each closed loop
    times: float  # of the peak
    bound_s: float  # on the time of a request


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was seen."""

    load: Load
    peaks: tuple[LoadResult, ...]  # before and after the open loops
    full_batch_ms: float  # at warm-up, and under the load of the peak
    loaded_batch_ms: float
    steady: Answers
    flood: Answers
    rejected: Counter[str]  # by reason, during the flood
    before: Census
    after: Census

    @property
    def peak(self) -> float:
        """Images per second, the mean of before and after."""
        return sum(load.requests / load.seconds for load in self.peaks) / len(self.peaks)

    @property
    def tool_share(self) -> tuple[float, float]:
        """Cores that the load tool took: at the peak, and in the flood."""
        peak = sum(load.tool_cpu_s / load.seconds for load in self.peaks) / len(self.peaks)
        return peak, self.flood.tool_cpu_s / self.flood.run_s


@click.command()
@click.option("--model", default="mobilenet_v2", show_default=True, type=click.Choice([*MODELS]))
@click.option("--seconds", default=60, show_default=True, help="Of each open loop.")
@click.option("--peak-seconds", default=10, show_default=True, help="Of each closed loop.")
@click.option("--times", default=3.0, show_default=True, help="The flood, in peaks.")
@click.option("--bound-ms", default=500, show_default=True, help="On the time of a request.")
@click.option("--write", is_flag=True, help="Renew the section of RESULTS.md.")
@click.option(
    "--assets",
    default="../shared/assets",
    envvar="MILLRACE_TEST_ASSETS",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of the models and photos; MILLRACE_TEST_ASSETS says the same.",
)
def main(
    *,
    model: str,
    seconds: int,
    peak_seconds: int,
    times: float,
    bound_ms: int,
    write: bool,
    assets: Path,
) -> None:
    """Flood a pod and print Markdown."""
    load = Load(seconds, peak_seconds, times, bound_ms / 1e3)
    try:
        require_tools()
        outcome = measure(model, load, assets)
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    section = SECTION.wrap(markdown(outcome))
    click.echo(section)
    if write:
        SECTION.write(section)


def measure(name: str, load: Load, assets: Path) -> Outcome:
    """Package, serve, and load in turn."""
    model, store, log = MODELS[name], FOLDER / "store", FOLDER / "millrace.log"
    package(model, assets, store)
    photos = model.photos(assets, FOLDER / "photos")
    jpegs = [photo.file.read_bytes() for photo in photos]
    requests = prepare(MILLRACE_V2.payload, name, jpegs, FOLDER / "requests")
    files = [request.file for request in requests]
    with millrace(model, store, log, "--request-timeout-s", str(load.bound_s)) as running:
        check_answers(running, MILLRACE_V2, requests, photos)
        run_wrk(running.http_port, files, IN_FLIGHT[-1], WARM_UP_S)
        peak = _peak(running, files, load)
        found = max(costs(log), key=lambda cost: cost.full_batch_ms)
        sizes = batch_ms(running.http_port, name)
        loaded_ms = sizes.get(found.max_batch_size, found.full_batch_ms)
        rate = peak.requests / peak.seconds
        steady = _open_loop(running, files, STEADY_SHARE * rate, load)
        progress.print(f"at {steady.rate:.0f}/s: {steady.counts}")
        _open_loop(running, files, load.times * rate, load, load.peak_seconds)  # touch all memory
        before = census(running.server.family())
        rejected = _rejected(running)
        flood = _open_loop(running, files, load.times * rate, load)
        progress.print(f"at {flood.rate:.0f}/s: {flood.counts}")
        rejected = _rejected(running) - rejected
        after = census(running.server.family())
        peaks = peak, _peak(running, files, load)
    return Outcome(
        load, peaks, found.full_batch_ms, loaded_ms, steady, flood, rejected, before, after
    )


def _peak(running: Running, files: Sequence[Path], load: Load) -> LoadResult:
    trials = [
        run_wrk(running.http_port, files, in_flight, load.peak_seconds) for in_flight in IN_FLIGHT
    ]
    texts = [f"{trial.requests / trial.seconds:,.0f}/s" for trial in trials]
    progress.print(f"closed loop, {IN_FLIGHT} in flight: {', '.join(texts)}")
    return max(trials, key=lambda trial: trial.requests / trial.seconds)


def _open_loop(
    running: Running, files: Sequence[Path], rate: float, load: Load, seconds: float = 0.0
) -> Answers:
    wait_s = SPARE_WAIT * load.bound_s
    folder = FOLDER / "h2load"
    return run_open_loop(running.http_port, files, rate, seconds or load.seconds, wait_s, folder)


def _rejected(running: Running) -> Counter[str]:
    return scrape(running.http_port).by("millrace_rejected_total", "reason")


def markdown(outcome: Outcome) -> list[str]:
    """The section."""
    load, peak_tool, flood_tool = outcome.load, *outcome.tool_share
    reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.rejected.items())
    return [
        "## Overload",
        "",
        f"Requests have {load.bound_s * 1e3:.0f} ms. Peak in a closed loop, before and after: "
        f"{', '.join(f'{each.requests / each.seconds:,.0f}' for each in outcome.peaks)} images/s. "
        f"Open loops of {load.seconds:g} s, evenly spaced. The load tool took {peak_tool:.2f} "
        f"cores at the peak and {flood_tool:.2f} in the flood.",
        "",
        *findings(_findings(outcome)),
        "",
        *table(LOAD_HEAD, [_load_cells(each) for each in (outcome.steady, outcome.flood)]),
        "",
        f"Refused in the flood, as `millrace_rejected_total` counts: {reasons or 'nothing'}.",
        "",
        *table(MEMORY_HEAD, _memory_cells(outcome)),
    ]


LOAD_HEAD = (
    "sent/s", "answered/s", "p50 ms", "p99 ms", "refusals p50 ms", "p99 ms", "by status"
)  # fmt: skip
MEMORY_HEAD = ("process", "own MiB before", "after", "shared MiB before", "after")


def _findings(outcome: Outcome) -> list[Finding]:
    flood, steady, bound_ms = outcome.flood, outcome.steady, outcome.load.bound_s * 1e3
    goodput = flood.per_second() / outcome.peak
    p99, refusal = flood.percentile_ms(99), flood.percentile_ms(99, REFUSED)
    steady_p99 = steady.percentile_ms(99) or float("inf")
    batch_ms = outcome.loaded_batch_ms
    own = [sum(each.own_mib for each in at.resident) for at in (outcome.before, outcome.after)]
    return [
        Finding(
            f"goodput at {outcome.load.times:g} times the peak ≥ {GOODPUT} of it",
            f"{flood.per_second():,.0f}/s, {goodput:.2f}",
            goodput >= GOODPUT,
        ),
        Finding(
            f"p99 of what is answered ≤ {bound_ms:.0f} ms",
            f"{number(p99, 0)} ms",
            p99 is not None and p99 <= bound_ms,
        ),
        Finding(
            f"refusals < {REFUSAL_MS:g} ms",
            f"p99 {number(refusal, 1)} ms",
            refusal is not None and refusal < REFUSAL_MS,
        ),
        Finding("memory flat", f"{own[0]:.0f} → {own[1]:.0f} MiB", own[1] <= GROWTH * own[0]),
        Finding(
            f"p99 at {STEADY_SHARE} of the peak ≤ {LATENCY:g} times a full batch's service time",
            f"{steady_p99:.1f} ms, {steady_p99 / batch_ms:.1f} times {batch_ms:.1f} ms as such a "
            f"batch took at the peak (at warm-up: {outcome.full_batch_ms:.1f} ms)",
            steady_p99 <= LATENCY * batch_ms,
        ),
    ]


def _load_cells(answers: Answers) -> tuple[str, ...]:
    return (
        number(answers.rate, 1),
        number(answers.per_second(), 1),
        *(number(answers.percentile_ms(percent), 1) for percent in (50, 99)),
        *(number(answers.percentile_ms(percent, REFUSED), 1) for percent in (50, 99)),
        ", ".join(f"{status}: {count:,}" for status, count in answers.counts.items()),
    )


def _memory_cells(outcome: Outcome) -> list[tuple[str, ...]]:
    """Processes by title and order: of two with one title nobody need know which is which."""
    pairs = zip(outcome.before.resident, outcome.after.resident, strict=False)
    return [
        (
            then.title,
            number(then.own_mib, 1),
            number(now.own_mib, 1),
            number(then.shared_mib, 1),
            number(now.shared_mib, 1),
        )
        for then, now in pairs
    ]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.overload")
