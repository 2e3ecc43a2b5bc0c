"""The last step, whatever happened before: how it ended is recorded, and nothing is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from model_store.errors import NotRegisteredError
from model_store.registry.connection import speaking_to
from model_store.registry.promotion import delete_alias
from model_store.registry.versions import RegisteredVersion, Registry
from pipelines.errors import PipelineError
from pipelines.record import (
    ABORTED,
    FAILED,
    OUTCOME_TAG,
    PROMOTED,
    WHY_TAG,
    Record,
)
from pipelines.steps.ending import give_up, record_end, take_back_left
from pipelines.steps.place import where
from pipelines.steps.registration import version_of
from pipelines.steps.rolling_out import Rolled
from rollout.aliases import CHALLENGER
from rollout.errors import RolloutError
from rollout.types import Version


@dataclass(frozen=True, slots=True)
class Conclusion:
    """How a run of the pipeline ended.

    Attributes:
        outcome: promoted, refused (by the gate), aborted (by the rollout) or failed.
        why: one line.
        version: that it registered; empty for none.
        run_id: MLflow's, where all of it is found.
        left: why its rollout could not be ended, and what to do; empty: nothing is left.
    """

    outcome: str
    why: str
    version: str
    run_id: str
    left: str = ""


def conclude(
    name: str,
    key: str,
    registry: str,
    place: Mapping[str, str],
    error: str,
    tell: Callable[[str], None],
) -> Conclusion:
    """Say in MLflow how the run ended, and end what it has left half done.

    A rollout that died is aborted, which takes no registry; a version that was not promoted is no
    challenger.

    Args:
        name: of the model.
        key: of the run.
        registry: tracking URI; empty as in ``registry_uri``.
        place: where it was to be rolled out.
        error: of KFP, if a step failed.
        tell: gets a line for each thing that is done.

    Raises:
        RegistryError: MLflow does not answer; all requests are back, or ``tell`` has heard why not.
    """
    rolled, left = _ended(name, key, place, tell)
    record = Record(name, key, registry)
    found = version_of(record.registry, name, key)
    tags = record.tags()
    outcome, why = tags.get(OUTCOME_TAG, FAILED), tags.get(WHY_TAG, "")
    if outcome != FAILED or found is None:
        left = ""  # it has ended before, or nothing was begun
    elif rolled is None and not left:
        left = _taken_back(found, place, tell)
    if outcome == FAILED:
        outcome, why = _came_to(rolled, error or "a step failed: see its log")
        why = f"{why}; {left}" if left else why
        record.tag({OUTCOME_TAG: outcome, WHY_TAG: why})
    if rolled is not None:
        _tell_registry(name, key, registry, place, tell)
    if found is not None:
        if not left:
            _clean(record.registry, found, tell)
        _tell_version(record, found, outcome)
    record.end(well=outcome == PROMOTED)
    return Conclusion(outcome, why, found.version if found else "", record.run_id, left)


def _ended(
    name: str, key: str, place: Mapping[str, str], tell: Callable[[str], None]
) -> tuple[Rolled | None, str]:
    """The run's rollout, which has an end now; and why it has none."""
    try:
        return give_up(name, where(place), tell, run=key), ""
    except PipelineError:  # it is no place: nothing was begun there
        return None, ""
    except RolloutError as refusal:
        tell(f"a rollout of {name} could not be ended, if there is one: {refusal}")
        return None, f"its rollout could not be ended: {refusal}"


def _taken_back(
    found: RegisteredVersion, place: Mapping[str, str], tell: Callable[[str], None]
) -> str:
    """Why what is left of a rollout without a state could not be ended; empty: nothing is left."""
    candidate = Version(found.name, found.version, str(found.reference))
    try:
        take_back_left(candidate, where(place), tell)
    except PipelineError:  # it is no place
        return ""
    except RolloutError as refusal:
        return f"its rollout could not be ended: {refusal}"
    return ""


def _came_to(rolled: Rolled | None, why: str) -> tuple[str, str]:
    """Outcome and reason of a run that has none yet: a step failed, or somebody stopped it.

    What its rollout came to is the outcome, whatever failed after it.
    """
    if rolled is None:
        return FAILED, why
    if rolled.promoted:
        return PROMOTED, f"it has all of the traffic, though after that: {why}"
    return ABORTED, rolled.why or why


def _tell_registry(
    name: str, key: str, registry: str, place: Mapping[str, str], tell: Callable[[str], None]
) -> None:
    try:
        record_end(name, where(place), registry, tell, run=key)
    except RolloutError as error:  # nobody is in need of it: the requests are where they belong
        tell(f"how the rollout ended is not recorded: {error}")


def _clean(registry: Registry, found: RegisteredVersion, tell: Callable[[str], None]) -> None:
    if registry.aliases(found.name).get(CHALLENGER) != found.version:
        return
    with contextlib.suppress(NotRegisteredError):
        delete_alias(registry, found.name, CHALLENGER)
        tell(f"{found.reference} is no challenger any more")


def _tell_version(record: Record, found: RegisteredVersion, outcome: str) -> None:
    with speaking_to(record.registry.uri):
        record.registry.client.set_model_version_tag(
            found.name, found.version, OUTCOME_TAG, outcome
        )
