"""``python -m benchmarks.faults``: a thousand faults under load, and what is left behind.

A witness asks all the time while processes are killed and stopped and clients misbehave, drawn by a
seed. Afterwards every request that a living frontend took must have its answer, the pod must count
what happened, and no process, descriptor or slot may be missing or left over.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
from rich.console import Console

from benchmarks.census import Census
from benchmarks.errors import BenchmarkError
from benchmarks.injuries import WEIGHTS
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.soak import FULL_ASKS, PROCESSES, SLOTS, Outcome, Soak, measure, more
from benchmarks.witness import BROKEN, EXCUSED, REFUSED, WRONG
from examples.server import ServerError

SECTION = Section("faults", "python -m benchmarks.faults")

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--faults", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=1, show_default=True)
@click.option("--kinds", default=",".join(WEIGHTS), show_default=True, help="Which to draw from.")
@click.option("--clients", default=8, show_default=True, help="That ask all the time.")
@click.option("--device", default="cpu", show_default=True, help="Of the instances.")
@click.option("--hang-timeout-s", default=5.0, show_default=True)
@click.option("--longest-backoff-s", default=0.2, show_default=True)
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
    faults: int,
    seed: int,
    kinds: str,
    clients: int,
    device: str,
    hang_timeout_s: float,
    longest_backoff_s: float,
    write: bool,
    assets: Path,
) -> None:
    """Injure a pod and print Markdown."""
    chosen = tuple(kinds.split(","))
    if unknown := set(chosen) - set(WEIGHTS):
        raise click.UsageError(f"no fault {min(unknown)!r}; there are {', '.join(WEIGHTS)}")
    soak = Soak(faults, seed, chosen, clients, device, hang_timeout_s, longest_backoff_s)
    try:
        outcome = measure(soak, assets, progress.print)
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    section = SECTION.wrap(markdown(outcome))
    click.echo(section)
    if write:
        SECTION.write(section)
    if not all(finding.holds for finding in _findings(outcome)):
        for detail in outcome.details[:20]:
            progress.print(detail)
        raise SystemExit(1)


def markdown(outcome: Outcome) -> list[str]:
    """The section."""
    soak = outcome.soak
    kinds = {*outcome.before.descriptors, *outcome.after.descriptors}
    processes = {*outcome.before.processes, *outcome.after.processes}
    return [
        "## Faults",
        "",
        f"{outcome.done.total():,} faults in {outcome.minutes:.0f} minutes (seed {soak.seed}), "
        f"{soak.clients} clients asking all the time, {PROCESSES} frontends, {PROCESSES} instances "
        f"on `{soak.device}`: {_text(outcome.done)}.",
        "",
        *findings(_findings(outcome)),
        "",
        f"Requests by what became of them: {_text(outcome.requests)}.",
        "",
        *table(
            ("what there is", "before", "after"),
            [
                *_pairs(processes, outcome.before.processes, outcome.after.processes),
                *_pairs(kinds, outcome.before.descriptors, outcome.after.descriptors),
                ("metric files", *(str(at.metric_files) for at in (outcome.before, outcome.after))),
                (
                    "MiB of the supervisor",
                    *(_supervisor_mib(at) for at in (outcome.before, outcome.after)),
                ),
            ],
        ),
    ]


def _findings(outcome: Outcome) -> list[Finding]:
    requests, found = outcome.requests, more(outcome.before, outcome.after)
    lost, excused = requests[BROKEN] + requests[WRONG] + requests[REFUSED], requests[EXCUSED]
    files = [at.metric_files for at in (outcome.before, outcome.after)]
    struck = {
        kind: outcome.done[f"kill {kind}"] + outcome.done[f"stop {kind}"]
        for kind in outcome.restarts
    }
    return [
        Finding(
            "every request that a living frontend took is answered, and rightly",
            f"{lost} of {requests.total() - excused:,} were not ({excused} more were at a frontend "
            "that was killed)",
            lost == 0,
        ),
        Finding(
            "restarts as the pod counts them are the faults",
            "; ".join(
                f"{kind}s {outcome.restarts[kind]} of {struck[kind]}" for kind in outcome.restarts
            ),
            outcome.restarts == struck,
        ),
        Finding(
            "readiness tells the truth",
            f"{outcome.lies.total()} of {outcome.probes:,} times it did not"
            + (f" ({_text(outcome.lies)})" if outcome.lies else ""),
            not outcome.lies,
        ),
        Finding(
            "no slot is lost",
            f"{outcome.full_answers} of {FULL_ASKS} requests that need all {SLOTS} were answered",
            outcome.full_answers == FULL_ASKS,
        ),
        Finding(
            "no process and no descriptor is left over",
            ", ".join(f"{count} more: {what}" for what, count in found.items()) or "none",
            not found and outcome.after.processes == outcome.before.processes,
        ),
        Finding(
            "what dead processes counted does not pile up",
            f"{files[0]} → {files[1]} files",
            files[1] <= files[0],
        ),
        Finding(
            "stopped processes are noticed",
            "; ".join(f"{count} times {what}" for what, count in _unnoticed(outcome).items())
            or "all",
            not _unnoticed(outcome),
        ),
    ]


def _unnoticed(outcome: Outcome) -> Counter[str]:
    return Counter(detail for detail in outcome.details if detail.endswith("not noticed"))


def _pairs(
    names: set[str], before: dict[str, int], after: dict[str, int]
) -> list[tuple[str, str, str]]:
    return [(name, str(before.get(name, 0)), str(after.get(name, 0))) for name in sorted(names)]


def _supervisor_mib(at: Census) -> str:
    return number(sum(each.own_mib for each in at.resident if "supervisor" in each.title), 1)


def _text(counts: Counter[str]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(counts.items()))


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.faults")
