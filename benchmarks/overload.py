"""``python -m benchmarks.overload``: what a pod does with more than it can do.

One pod of MobileNetV2, whose requests have a bound on their time: its peak in a closed loop; then,
in an open loop, 0.7 of the peak for the latency, and three times the peak for the goodput.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.flood import STEADY_SHARE, Load, Outcome, measure
from benchmarks.load import require_tools
from benchmarks.models import MODELS
from benchmarks.open_loop import REFUSED, Answers
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.side_by_side import priority_text
from examples.server import ServerError

SECTION = Section("overload", "python -m benchmarks.overload")
# What is to be reached.
GOODPUT, LATENCY, REFUSAL_MS, GROWTH = 0.95, 2.0, 10.0, 1.05

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--model", default="mobilenet_v2", show_default=True, type=click.Choice([*MODELS]))
@click.option("--seconds", default=60, show_default=True, help="Of each open loop.")
@click.option("--peak-seconds", default=10, show_default=True, help="Of each closed loop.")
@click.option("--times", default=3.0, show_default=True, help="The flood, in peaks.")
@click.option("--bound-ms", default=500, show_default=True, help="On the time of a request.")
@options.write
@options.assets
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
        outcome = measure(model, load, assets, progress.print)
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    SECTION.publish(markdown(outcome), write=write)


def markdown(outcome: Outcome) -> list[str]:
    """The section."""
    load, peak_tool, flood_tool = outcome.load, *outcome.tool_share
    reasons = ", ".join(f"{reason} {count}" for reason, count in outcome.rejected.items())
    return [
        "## Overload",
        "",
        f"Requests have {load.bound_s * 1e3:.0f} ms. Peak in a closed loop, before and after: "
        f"{', '.join(f'{each.requests / each.seconds:,.0f}' for each in outcome.peaks)} images/s. "
        f"Open loops of {load.seconds:g} s, evenly spaced. {priority_text()} It took "
        f"{peak_tool:.2f} of {outcome.cores} cores at the peak and {flood_tool:.2f} in the flood, "
        f"which sends {load.times:g} times as much. So the goodput is given twice: as it is, which "
        "is what counts, and by the core that the load tool left to the server.",
        "",
        *findings(_findings(outcome)),
        "",
        *table(LOAD_HEAD, [_load_cells(each) for each in (outcome.steady, outcome.flood)]),
        "",
        "Refused in the flood, its ramps included, as `millrace_rejected_total` counts: "
        f"{reasons or 'nothing'}.",
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
            f"{flood.per_second():,.0f}/s, {goodput:.2f} (by the core left to the server: "
            f"{outcome.goodput_by_core:.2f})",
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
