"""A pod under load while it is injured, and what is left of it."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.census import Census, census
from benchmarks.failing_network import NO_MEMORY, RAISES, one_colour
from benchmarks.idle_network import idle_model
from benchmarks.injuries import Injuries
from benchmarks.models import MODELS, Model, package
from benchmarks.payloads import v2_binary, v2_noise
from benchmarks.pod import scrape
from benchmarks.servers import Running, millrace
from benchmarks.witness import Connection, Witness, learn
from predictor.settings import Settings

FOLDER = Path("var/bench-faults")
SIZE = 32
SLOTS = 64  # of a frontend; few, so that a leak would show
PROCESSES = 2  # frontends and instances: of either, one is always left
SETTLE_S = 20.0  # for descriptors of the last clients to be closed
FULL_ASKS = 8  # requests that take every slot, on connections of their own: some for each frontend
WARM_UP_S = 2.0
REJECTED = "millrace_rejected_total"
IMAGES = "millrace_images_total"
FAILURES = "millrace_batch_failures_total"


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
    told: Counter[str]  # to clients with bad images, by kind and status
    requests: Counter[str]
    probes: int
    lies: Counter[str]
    details: tuple[str, ...]
    rejected: Counter[str]  # as the pod counts them, by reason
    expired: int  # images, as the pod counts them
    failures: Counter[str]  # batches on which the runtime raised, as the pod counts them
    restarts: dict[str, int]  # as the pod counts them, by kind of process
    full_answers: int  # of FULL_ASKS
    before: Census
    after: Census


def measure(soak: Soak, assets: Path, say: Callable[[str], None]) -> Outcome:
    """Package, serve, injure, and count what is left."""
    like = MODELS["resnet20_cifar10"]
    idle = idle_model(like, SIZE, FOLDER, failing=True)
    model = replace(idle, frontends=PROCESSES, instances=PROCESSES)
    package(model, assets, FOLDER / "store")
    photos = like.photos(assets, FOLDER / "photos")
    requests = [v2_binary(model.name, photo.file.read_bytes()) for photo in photos]
    settings = ["--devices", soak.device, "--max-queue-size", str(SLOTS)]
    for name in ("hang_timeout_s", "longest_backoff_s"):
        if name in Settings.model_fields:
            settings += [f"--{name.replace('_', '-')}", str(getattr(soak, name))]
    with millrace(model, FOLDER / "store", FOLDER / "millrace.log", *settings) as running:
        return asyncio.run(_soak(soak, model, running, requests, say))


async def _soak(
    soak: Soak, model: Model, running: Running, requests: list[bytes], say: Callable[[str], None]
) -> Outcome:
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
        {
            kind: v2_binary(model.name, one_colour(colour, SIZE))
            for kind, colour in (("runtime error", RAISES), ("out of memory", NO_MEMORY))
        },
    )
    earlier = await asyncio.to_thread(scrape, running.http_port)
    began = time.monotonic()
    witness.start(soak.clients)
    try:
        await injuries.inflict(soak.faults, list(soak.kinds), say)
    finally:
        await witness.stop()
    minutes = (time.monotonic() - began) / 60
    answered = await _full_answers(running, full)
    later = await asyncio.to_thread(scrape, running.http_port)
    return Outcome(
        soak,
        minutes,
        injuries.done,
        injuries.told,
        witness.outcomes,
        witness.probes,
        witness.lies,
        (*injuries.details, *witness.details),
        later.by(REJECTED, "reason") - earlier.by(REJECTED, "reason"),
        (later.by(IMAGES, "outcome") - earlier.by(IMAGES, "outcome"))["expired"],
        later.by(FAILURES, "reason") - earlier.by(FAILURES, "reason"),
        {
            kind: round(later.total(f"millrace_{kind}_restarts_total"))
            for kind in ("frontend", "instance")
        },
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
