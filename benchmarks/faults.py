"""``python -m benchmarks.faults``: a thousand faults under load, and what is left behind.

A witness asks all the time while processes are killed and stopped and clients misbehave, drawn by a
seed. Afterwards every request that a living frontend took must have its answer, the pod must count
what happened, and no process, descriptor or slot may be missing or left over.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import click
from rich.console import Console

from benchmarks.census import Census, census
from benchmarks.errors import BenchmarkError
from benchmarks.idle_network import idle_model
from benchmarks.injuries import WEIGHTS, Injuries
from benchmarks.models import MODELS, Model, package
from benchmarks.page import Finding, Section, findings, number, table
from benchmarks.payloads import v2_binary, v2_noise
from benchmarks.pod import scrape
from benchmarks.servers import Running, millrace
from benchmarks.witness import BROKEN, EXCUSED, REFUSED, WRONG, Connection, Witness, learn
from examples.server import ServerError
from predictor.settings import Settings

SECTION = Section("faults", "python -m benchmarks.faults")
FOLDER = Path("var/bench-faults")
SIZE = 32
SLOTS = 64  # of a frontend; few, so that a leak would show
PROCESSES = 2  # frontends and instances: of either, one is always left
SETTLE_S = 20.0  # for descriptors of the last clients to be closed
FULL_ASKS = 8  # requests that take every slot, on connections of their own: some for each frontend
WARM_UP_S = 2.0

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Soak:
    """What to do."""

    faults: int
    seed: int
    kinds: tuple[str, ...]
    clients: int
    device: str
    hang_timeout_s: float
    longest_backoff_s: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was seen."""

    soak: Soak
    minutes: float
    done: Counter[str]
    requests: Counter[str]
    probes: int
    lies: Counter[str]
    details: tuple[str, ...]
    restarts: dict[str, int]  # as the pod counts them, by kind of process
    full_answers: int  # of FULL_ASKS
    before: Census
    after: Census


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
        outcome = measure(soak, assets)
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


def measure(soak: Soak, assets: Path) -> Outcome:
    """Package, serve, injure, and count what is left."""
    like = MODELS["resnet20_cifar10"]
    model = replace(idle_model(like, SIZE, FOLDER), frontends=PROCESSES, instances=PROCESSES)
    package(model, assets, FOLDER / "store")
    photos = like.photos(assets, FOLDER / "photos")
    requests = [v2_binary(model.name, photo.file.read_bytes()) for photo in photos]
    settings = ["--devices", soak.device, "--max-queue-size", str(SLOTS)]
    for name in ("hang_timeout_s", "longest_backoff_s"):
        if name in Settings.model_fields:
            settings += [f"--{name.replace('_', '-')}", str(getattr(soak, name))]
    with millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings) as running:
        return asyncio.run(_soak(soak, model, running, requests))


async def _soak(soak: Soak, model: Model, running: Running, requests: list[bytes]) -> Outcome:
    """Warm up, count, injure under load, let everything settle, count again."""
    full = v2_noise(model.name, SLOTS, SIZE, seed=soak.seed)
    witness = Witness(running.http_port, await learn(running.http_port, requests))
    await _full_answers(running, full)
    witness.start(soak.clients)
    await asyncio.sleep(WARM_UP_S)
    await witness.stop()
    before = await _settled(running, None)
    injuries = Injuries(
        running,
        witness,
        random.Random(soak.seed),
        {"frontend": PROCESSES, "instance": PROCESSES},
        soak.hang_timeout_s,
    )
    began = time.monotonic()
    witness.start(soak.clients)
    try:
        await injuries.inflict(soak.faults, list(soak.kinds), progress.print)
    finally:
        await witness.stop()
    answered = await _full_answers(running, full)
    return Outcome(
        soak,
        (time.monotonic() - began) / 60,
        injuries.done,
        witness.outcomes,
        witness.probes,
        witness.lies,
        (*injuries.details, *witness.details),
        await _restarts(running),
        answered,
        before,
        await _settled(running, before),
    )


async def _full_answers(running: Running, request: bytes) -> int:
    """How many requests were answered that need every slot of their frontend."""
    answered = 0
    for _ in range(FULL_ASKS):
        connection = await Connection.open(running.http_port)
        answered += (await connection.ask(request)).status == 200
        await connection.close()
    return answered


async def _settled(running: Running, before: Census | None) -> Census:
    """A census once it shows no more than ``before``, or after a while as it then is."""
    deadline = time.monotonic() + SETTLE_S
    while True:
        await asyncio.sleep(1)
        now = census(running.server.family())
        if before is None or not more(before, now) or time.monotonic() > deadline:
            return now


def more(before: Census, after: Census) -> dict[str, int]:
    """What there is more of than there was: processes and descriptors."""
    then = before.processes | before.descriptors
    now = after.processes | after.descriptors
    return {
        what: count - then.get(what, 0) for what, count in now.items() if count > then.get(what, 0)
    }


async def _restarts(running: Running) -> dict[str, int]:
    found = await asyncio.to_thread(scrape, running.http_port)
    return {
        kind: round(found.total(f"millrace_{kind}_restarts_total"))
        for kind in ("frontend", "instance")
    }


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
