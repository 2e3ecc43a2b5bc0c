"""The pipeline's tasks: a step's function, what it says meanwhile, and what of it is kept where.

They take what KFP gives, values and paths of artifacts, and give what KFP shows. Each is all that
one component of ``components`` calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from model_store.registry.registering import check_name
from pipelines.errors import PipelineError
from pipelines.record import (
    ABORTED,
    OUTCOME_TAG,
    PROMOTED,
    WHY_TAG,
    Record,
)
from pipelines.steps import artifacts
from pipelines.steps.conclusion import Conclusion
from pipelines.steps.conclusion import conclude as conclude_run
from pipelines.steps.gate_text import gate_of
from pipelines.steps.packaging import facts, make_package, package_in
from pipelines.steps.pinning import Pins
from pipelines.steps.pinning import pin as pin_names
from pipelines.steps.place import where
from pipelines.steps.promotion import see_promoted
from pipelines.steps.registration import lay_down, register_challenger
from pipelines.steps.rolling_out import PLAN_FILE, carry_out
from pipelines.steps.telling import step
from rollout.plan import parse_plan

__all__ = [
    "Answer",
    "Model",
    "Registered",
    "Run",
    "conclude",
    "package",
    "pin",
    "promote",
    "refuse",
    "register",
    "rollout",
]


@dataclass(frozen=True, slots=True)
class Model:
    """What is to become a package; as ``pinning.pin`` has it."""

    name: str
    source: str
    labels: str
    parity_images: str
    packaging: Mapping[str, Any]
    registry: str


@dataclass(frozen=True, slots=True)
class Run:
    """A run of the pipeline: which model it is about, and where it is recorded by which key."""

    name: str
    registry: str
    key: str

    @property
    def record(self) -> Record:
        """MLflow's side of it."""
        return Record(self.name, self.key, self.registry)


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes or no, and why not."""

    yes: bool
    why: str


@dataclass(frozen=True, slots=True)
class Registered:
    """A version in the registry: its URI, and what is shown of it."""

    uri: str
    facts: dict[str, str]


def pin(
    model: Model,
    datasets: Sequence[str],
    gate: str,
    plan: str,
    champion: str,
    place: Mapping[str, str],
) -> Pins:
    """What the names mean now; all that can be seen to be wrong is said here."""
    with step("pin") as telling, TemporaryDirectory(prefix="millrace-pin-") as work:
        check_name(model.name)
        where(place)
        gate_of(gate, Path(work))
        parse_plan(plan, PLAN_FILE)
        pins = pin_names(
            model.name,
            model.source,
            Path(model.labels),
            Path(model.parity_images),
            model.packaging,
            datasets,
            champion,
            model.registry,
            telling.progress,
        )
        telling.result = f"champion is {pins.champion or 'none yet'}"
    return pins


def package(model: Model, store: str) -> dict[str, str]:
    """Make the package in ``store``; gives what is shown of it."""
    with step("package") as telling:
        made = make_package(
            model.source,
            model.name,
            Path(model.labels),
            Path(model.parity_images),
            model.packaging,
            model.registry,
            Path(store),
            telling.progress,
        )
        told = facts(made)
        telling.result = f"{told['variants']}, {told['classes']} classes, {told['input']}"
    return told


def register(run: Run, store: str, publish_to: str) -> Registered:
    """Register the package as the challenger, and lay it down where pods look for it."""
    with step("register") as telling:
        found = register_challenger(package_in(Path(store)), run.name, run.registry, run.key)
        if publish_to:
            telling.say(f"laid down in {lay_down(found, run.registry, Path(publish_to))}")
        telling.result = f"{found.reference} is @{', @'.join(found.aliases)}"
        record = run.record
        record.step("register", telling.result)
    told = {"version": found.version, "mlflow_run": record.run_id, "sha256": found.sha256}
    return Registered(str(found.reference), told)


def rollout(
    run: Run, uri: str, replaces: str, plan: str, place: Mapping[str, str], page: str
) -> Answer:
    """Roll the version out or take it back; ``page`` says what happened when."""
    with step("rollout") as telling:
        rolled = carry_out(
            uri, plan, where(place), run.registry, telling.say, run=run.key, replaces=replaces
        )
        text = artifacts.rollout_page(rolled.state)
        Path(page).write_text(text, encoding="utf-8")
        record = run.record
        record.text(text, "rollout.md")
        telling.result = "all of the traffic" if rolled.promoted else f"taken back: {rolled.why}"
        record.step("rollout", telling.result)
        if not rolled.promoted:
            record.tag({OUTCOME_TAG: ABORTED, WHY_TAG: rolled.why})
    return Answer(rolled.promoted, rolled.why)


def promote(run: Run, uri: str) -> None:
    """See that the version is the champion, which its rollout has made it."""
    with step("promote") as telling:
        promoted = see_promoted(uri, run.registry)
        telling.result = f"champion is {promoted.champion}, was {promoted.previous or 'none'}"
        record = run.record
        record.step("promote", telling.result)
        record.tag({OUTCOME_TAG: PROMOTED, WHY_TAG: telling.result})


def refuse(who: str, why: str) -> None:
    """End the run as one that did not succeed: nobody is to take it for a promoted one.

    Raises:
        SystemExit: always.
    """
    raise SystemExit(f"the {who} says no: {why}")


def conclude(run: Run, place: Mapping[str, str], error: str, page: str = "") -> Conclusion:
    """Record how the run ended and leave nothing behind; fails if a rollout could not be ended."""
    with step("conclude") as telling:
        found = conclude_run(run.name, run.key, run.registry, place, error, telling.say)
        if page:
            Path(page).write_text(artifacts.conclusion_page(run.key, found), encoding="utf-8")
        if found.left:
            served = place.get("service") or run.name
            raise PipelineError(
                f"{found.left}; the candidate may still get requests: "
                f"`millrace rollout abort {served}` takes them back (docs/pipeline.md)"
            )
        telling.result = f"{found.outcome}; MLflow run {found.run_id}"
    return found
