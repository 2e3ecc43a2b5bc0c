"""The step that gives the candidate the traffic, or takes it back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from model_store.registry.address import registry_uri
from model_store.registry.versions import Registry
from pipelines.steps.place import Where, open_parts
from rollout.aliases import find_candidate
from rollout.errors import NotFoundError, RolloutError
from rollout.lease import holder_name, wish
from rollout.plan import parse_plan
from rollout.run import WallTime, roll_out
from rollout.state import Outcome, State, Wish, read_state
from rollout.types import Kept, Version

PLAN_FILE = "plan.yaml"  # as errors call it


@dataclass(frozen=True, slots=True)
class Rolled:
    """How a rollout ended.

    Attributes:
        promoted: whether the candidate has all of the traffic now.
        why: it has not; empty.
        state: the last one.
    """

    promoted: bool
    why: str
    state: State


def carry_out(
    uri: str, plan: str, where: Where, registry: str, tell: Callable[[str], None]
) -> Rolled:
    """Roll a registered version out; one that was left by a step that died is gone on with.

    Args:
        uri: ``models:/NAME/NUMBER``.
        plan: text of a ``plan.yaml``; empty for the plan that has no file.
        where: it is served.
        registry: tracking URI; empty as in ``registry_uri``.
        tell: gets a line for each thing that happens.

    Raises:
        RolloutError: it cannot be begun or gone on with, or was told to stop; then the next try
            goes on where it was.
    """
    wanted = parse_plan(plan, PLAN_FILE)
    store = Registry(registry_uri(registry))
    candidate = find_candidate(store, uri)
    clock = _stopping()
    with open_parts(where, candidate.name, wanted, store) as parts:
        state = roll_out(
            parts,
            candidate,
            wanted,
            holder=holder_name(),
            clock=clock,
            tell=lambda event: tell(event.text),
        )
    if not state.done:
        raise RolloutError(
            f"the rollout of {uri} was told to stop in {state.where}: start it again"
        )
    return Rolled(state.outcome is Outcome.PROMOTED, state.why, state)


def give_up(
    candidate: Version, where: Where, registry: str, tell: Callable[[str], None]
) -> Rolled | None:
    """End a rollout of ``candidate`` that was left half done: all requests go back.

    Returns:
        How it ended; None if none was under way.

    Raises:
        RolloutError: the place does not answer; BusyError: somebody else carries it out.
    """
    store = Registry(registry_uri(registry))
    plan = parse_plan("", PLAN_FILE)
    with open_parts(where, candidate.name, plan, store, measuring=False) as parts:
        kept = parts.ledger.read()
        if kept is None or _over(kept, candidate):
            return None
        try:
            wish(parts.ledger, Wish.ABORT)
        except NotFoundError:
            return None
        state = roll_out(
            parts,
            None,
            plan,
            holder=holder_name(),
            clock=WallTime(),
            tell=lambda event: tell(event.text),
        )
    return Rolled(state.outcome is Outcome.PROMOTED, state.why, state)


def _over(kept: Kept, candidate: Version) -> bool:
    state = read_state(kept.state)
    return state.done or state.candidate.version != candidate.version


def _stopping() -> WallTime:
    """A clock that SIGTERM stops: KFP sends it to a pod that is to go, and the next one goes on."""
    clock = WallTime()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: clock.stop())
    return clock
