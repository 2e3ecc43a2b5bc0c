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
from rollout.errors import RolloutError, UnreachableError
from rollout.handover import await_free
from rollout.lease import holder_name
from rollout.plan import parse_plan
from rollout.run import Parts, WallTime, roll_out
from rollout.state import Outcome, Phase, State

PLAN_FILE = "plan.yaml"  # as errors call it
# A pod that is told to go has 30 s by Kubernetes' default, of which its last look has taken some.
STEP_BACK_S, AGAIN_S = 10.0, 1.0


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
    return rolled(state)


def rolled(state: State) -> Rolled:
    """How a rollout ended whose state this is."""
    return Rolled(state.outcome is Outcome.PROMOTED, state.why, state)


def _step_back(parts: Parts, state: State, tell: Callable[[str], None]) -> None:
    """Take the candidate's share away before this pod goes: perhaps no other one comes after it.

    KFP ends a run that somebody terminated without its exit handler. Whoever goes on sets the
    share again. What is being promoted has passed every step, and keeps the requests.
    """
    if state.phase is not Phase.STEP:
        return
    uri, clock = state.candidate.uri, WallTime(STEP_BACK_S)
    while True:
        try:
            parts.place.share(state.candidate.version_of, 0)
        except RolloutError as error:
            if not isinstance(error, UnreachableError) or clock.wait(AGAIN_S):
                tell(f"{uri} may keep its share of the requests, abort its rollout: {error}")
                return
        else:
            tell(f"all requests are back at version {state.stable}, until somebody goes on")
            return


def _stopping() -> WallTime:
    """A clock that SIGTERM stops: KFP sends it to a pod that is to go, and the next one goes on."""
    clock = WallTime()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: clock.stop())
    return clock
