"""``python -m benchmarks.faults``: a thousand faults under load, and what is left behind.

A witness asks all the time while processes are killed and stopped, clients misbehave and images
come at which the runtime fails, drawn by a seed. Afterwards every request that a living frontend
took must have its answer, the pod must count what happened, and no process, descriptor, slot or
memory may be missing or left over.
"""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from benchmarks import options
from benchmarks.errors import BenchmarkError
from benchmarks.injuries import WEIGHTS
from benchmarks.page import Section, findings, table
from benchmarks.soak import PROCESSES, Outcome, Soak, measure
from benchmarks.soak_findings import text_of, wanted
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
@options.write
@options.assets
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
    SECTION.publish(markdown(outcome), write=write)
    if not all(finding.holds for finding in wanted(outcome)):
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
        f"on `{soak.device}`: {text_of(outcome.done)}.",
        "",
        *findings(wanted(outcome)),
        "",
        f"Requests by what became of them: {text_of(outcome.requests)}.",
        "",
        f"As the pod counts: refused {text_of(outcome.rejected) or 'nothing'}; images expired: "
        f"{outcome.expired}; batches on which the runtime failed: "
        f"{text_of(outcome.failures) or 'none'}.",
        "",
        *table(
            ("what there is", "before", "after"),
            [
                *_pairs(processes, outcome.before.processes, outcome.after.processes),
                *_pairs(kinds, outcome.before.descriptors, outcome.after.descriptors),
                ("metric files", *(str(at.metric_files) for at in (outcome.before, outcome.after))),
            ],
        ),
    ]


def _pairs(
    names: set[str], before: dict[str, int], after: dict[str, int]
) -> list[tuple[str, str, str]]:
    return [(name, str(before.get(name, 0)), str(after.get(name, 0))) for name in sorted(names)]


if __name__ == "__main__":
    main(prog_name="python -m benchmarks.faults")
