"""The step that gives the candidate the traffic, or takes it back."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from model_store.registry.address import registry_uri
from model_store.registry.versions import Registry
from pipelines.steps.place import Where, open_parts
from rollout.aliases import find_candidate
from rollout.errors import NotFoundError, RolloutError
from rollout.handover import await_free
from rollout.lease import holder_name, wish
from rollout.plan import Plan, parse_plan
from rollout.run import Parts, WallTime, roll_out
from rollout.state import Outcome, Phase, State, Wish, read_state
from rollout.types import Version

PLAN_FILE = "plan.yaml"  # as errors call it
LONGEST_END_S = 600.0  # after that somebody has to look, and an exit handler says so


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
    uri: str,
    plan: str,
    where: Where,
    registry: str,
    tell: Callable[[str], None],
    *,
    run: str,
    replaces: str = "",
) -> Rolled:
    """Roll a registered version out; one that was left by a step that died is gone on with.

    What has ended for this run stays ended: a version that was taken back gets no second chance
    because the step is tried again.

    Args:
        uri: ``models:/NAME/NUMBER``.
        plan: text of a ``plan.yaml``; empty for the plan that has no file.
        where: it is served.
        registry: tracking URI; empty as in ``registry_uri``.
        tell: gets a line for each thing that happens.
        run: key of the pipeline's run.
        replaces: number of the version that it was judged against; empty: whatever is served.

    Raises:
        RolloutError: it cannot be begun or gone on with, or was told to stop; then the next try
            goes on where it was.
    """
    wanted = parse_plan(plan, PLAN_FILE)
    store = Registry(registry_uri(registry))
    candidate = find_candidate(store, uri)
    clock = _stopping()
    with open_parts(where, candidate.name, wanted, store) as parts:
        # The try before may have died a moment ago.
        await_free(parts.ledger, clock, candidate)
        state = roll_out(
            parts,
            candidate,
            wanted,
            holder=holder_name(),
            clock=clock,
            tell=lambda event: tell(event.text),
            run=run,
            against=replaces,
        )
        if not state.done:
            _step_back(parts, state, tell)
            raise RolloutError(
                f"the rollout of {uri} was told to stop in {state.where}: start it again"
            )
    return _rolled(state)


def give_up(
    candidate: Version, where: Where, registry: str, tell: Callable[[str], None]
) -> Rolled | None:
    """End a rollout of ``candidate`` that was left half done: all requests go back.

    Whoever carried it out and died is waited for, as long as its lease lasts.

    Returns:
        How it ended, now or before; None if there was none.

    Raises:
        RolloutError: the place does not answer in ``LONGEST_END_S``.
        BusyError: somebody else carries it out.
    """
    store = Registry(registry_uri(registry))
    plan = parse_plan("", PLAN_FILE)
    with open_parts(where, candidate.name, plan, store, measuring=False) as parts:
        state = _kept(parts)
        if state is None or state.candidate.version != candidate.version:
            return None
        with contextlib.suppress(NotFoundError):  # it is over
            wish(parts.ledger, Wish.ABORT)
            _end(parts, candidate, tell)
        state = _kept(parts) or state
    if not state.done:
        raise RolloutError(f"{state.where}: {state.trouble or 'it was not through in time'}")
    return _rolled(state)


def _end(parts: Parts, candidate: Version, tell: Callable[[str], None]) -> None:
    """Wait until whoever carries it out has obeyed, or end it in its stead."""
    state = await_free(parts.ledger, WallTime(), candidate, LONGEST_END_S)
    if state is None or state.done:
        return
    roll_out(
        parts,
        None,
        Plan(),
        holder=holder_name(),
        clock=WallTime(LONGEST_END_S),
        tell=lambda event: tell(event.text),
    )


def _kept(parts: Parts) -> State | None:
    kept = parts.ledger.read()
    return None if kept is None else read_state(kept.state)


def _rolled(state: State) -> Rolled:
    return Rolled(state.outcome is Outcome.PROMOTED, state.why, state)


def _step_back(parts: Parts, state: State, tell: Callable[[str], None]) -> None:
    """Take the candidate's share away before this pod goes: perhaps no other one comes after it.

    KFP ends a run that somebody terminated without its exit handler. Whoever goes on sets the
    share again.
    """
    if state.phase is not Phase.STEP:
        return
    try:
        parts.place.share(state.candidate.version_of, 0)
    except RolloutError as error:
        tell(f"{state.candidate.uri} keeps its share of the requests: {error}")
    else:
        tell(f"all requests are back at version {state.stable}, until somebody goes on")


def _stopping() -> WallTime:
    """A clock that SIGTERM stops: KFP sends it to a pod that is to go, and the next one goes on."""
    clock = WallTime()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: clock.stop())
    return clock
