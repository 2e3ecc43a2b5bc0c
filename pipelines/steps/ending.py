"""The end of a rollout that a run has left half done: requests first, and the registry after that.

What fails a run may well be the registry. So whose rollout it is stands in the rollout's own state,
and the requests go back without asking anybody else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

from model_store.registry.address import registry_uri
from model_store.registry.versions import Registry
from pipelines.steps.place import Where, left_candidate, open_ledger, open_parts
from pipelines.steps.rolling_out import Rolled, rolled
from rollout.errors import NotFoundError, RolloutError
from rollout.handover import await_free
from rollout.lease import holder_name, wish
from rollout.left import take_back
from rollout.plan import Dark, Plan
from rollout.run import Parts, WallTime, roll_out
from rollout.state import Phase, State, Wish, read_state
from rollout.types import Ledger, Version

LONGEST_END_S = 600.0  # after that somebody has to look, and an exit handler says so
LONGEST_RECORD_S = 60.0  # the requests are where they belong: nobody is hurt by what is missing


def give_up(name: str, where: Where, tell: Callable[[str], None], *, run: str) -> Rolled | None:
    """End the rollout that was begun for ``run``, if it has not ended: all requests go back.

    Whoever carried it out and died is waited for, as long as its lease lasts. The registry is not
    asked, and hears nothing: see ``record_end``.

    Args:
        name: of the model.
        where: it is served.
        tell: gets a line for each thing that happens.
        run: key of the pipeline's run.

    Returns:
        How it ended, now or before; None if there was none.

    Raises:
        RolloutError: the place does not answer in ``LONGEST_END_S``, or somebody else carries the
            rollout out.
    """
    ledger = open_ledger(where, name)
    state = _of_run(ledger, run)
    if state is None:
        return None
    if not _decided(state):
        with contextlib.suppress(NotFoundError):  # it is over
            wish(ledger, Wish.ABORT)
            _end(name, where, ledger, state, tell)
        state = _of_run(ledger, run) or state
    if not _decided(state):
        raise RolloutError(f"{state.where}: {state.trouble or 'it was not through in time'}")
    return rolled(state)


def take_back_left(candidate: Version, where: Where, tell: Callable[[str], None]) -> None:
    """End the candidate's rollout if its state was deleted, by what the place itself remembers.

    Raises:
        RolloutError: the place does not answer in ``LONGEST_END_S``, or refuses.
    """
    if open_ledger(where, candidate.name).read() is not None:
        return
    left = left_candidate(where, candidate.name)
    if left is None or left.version != candidate.version:
        return
    with open_parts(where, candidate.name, Plan(), None, measuring=False) as parts:
        take_back(parts.place, left, WallTime(LONGEST_END_S), tell)
    tell(f"the rollout's state was deleted: {candidate.uri} has no requests any more")


def record_end(
    name: str, where: Where, registry: str, tell: Callable[[str], None], *, run: str
) -> None:
    """Tell the registry how the rollout ended that ``give_up`` has ended; may be repeated.

    Args:
        name: of the model.
        where: it is served.
        registry: tracking URI; empty as in ``registry_uri``.
        tell: gets a line for each thing that happens.
        run: key of the pipeline's run.

    Raises:
        RolloutError: the place does not answer.
    """
    state = _of_run(open_ledger(where, name), run)
    if state is None or state.phase is not Phase.RECORDING:
        return
    store = Registry(registry_uri(registry))
    with _open(name, where, state, store) as parts:
        _carry_on(parts, WallTime(LONGEST_RECORD_S), tell)


def _end(
    name: str, where: Where, ledger: Ledger, state: State, tell: Callable[[str], None]
) -> None:
    """Wait until whoever carries it out has obeyed, or end it in its stead."""
    last = await_free(ledger, WallTime(), state.candidate.version_of, LONGEST_END_S)
    if last is None or _decided(last):
        return
    clock = WallTime(LONGEST_END_S)
    with _open(name, where, state, None) as parts:
        _carry_on(parts, clock, tell, lambda seen: clock.stop() if _decided(seen) else None)


def _open(
    name: str, where: Where, state: State, registry: Registry | None
) -> AbstractContextManager[Parts]:
    """With the plan it began with, which says where versions lie, but for images to ask."""
    plan = state.plan.model_copy(update={"dark": Dark(), "shadow": None})
    return open_parts(where, name, plan, registry, measuring=False)


def _carry_on(
    parts: Parts,
    clock: WallTime,
    tell: Callable[[str], None],
    watch: Callable[[State], None] = lambda _: None,
) -> None:
    roll_out(
        parts,
        None,
        Plan(),
        holder=holder_name(),
        clock=clock,
        tell=lambda event: tell(event.text),
        watch=watch,
    )


def _of_run(ledger: Ledger, run: str) -> State | None:
    """What is kept of the run's rollout; None: it has begun none."""
    kept = ledger.read()
    state = None if kept is None else read_state(kept.state)
    return None if state is None or state.run != run else state


def _decided(state: State) -> bool:
    """Whether the requests are where they stay; the registry may not know yet."""
    return state.phase in (Phase.RECORDING, Phase.DONE)
