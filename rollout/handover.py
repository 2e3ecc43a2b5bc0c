"""The waiting for another process: until it has obeyed, or its lease has ended."""

from __future__ import annotations

from rollout.clock import Time
from rollout.errors import UnreachableError
from rollout.lease import LEASE_S, RENEW_S, held
from rollout.run import LOOK_S
from rollout.state import State, read_state
from rollout.types import Ledger, Version

LONGEST_S = LEASE_S + RENEW_S  # by then, whoever has not renewed is known to have died


def await_free(
    ledger: Ledger,
    clock: Time,
    candidate: Version | None = None,
    longest_s: float = LONGEST_S,
) -> State | None:
    """Wait while a rollout is held, since its holder may have died a moment ago.

    For a step that is tried again, and for whoever has wished for an abort: ``roll_out`` refuses
    what is held at once. A holder that lives still holds it after ``longest_s``.

    Args:
        ledger: where its state is kept.
        clock: the time; the waiting ends when it says to stop.
        candidate: whose rollout is waited for; another version's is not. None: whichever it is.
        longest_s: for how long.

    Returns:
        The state that was kept last: it is done, nobody holds it, or it is still held; None if
        there has been no rollout.

    Raises:
        UnreachableError: the ledger did not answer in all that time.
        RolloutError: what is kept there cannot be read.
    """
    end = clock.now() + longest_s
    while True:
        late = clock.now() >= end
        try:
            kept = ledger.read()
        except UnreachableError:
            if late:
                raise
        else:
            state = None if kept is None else read_state(kept.state)
            if state is None or late or not _waited_for(state, candidate, clock.now()):
                return state
        if clock.wait(min(LOOK_S, max(0.0, end - clock.now()))):
            end = clock.now()  # one look more: what it says is what there is


def _waited_for(state: State, candidate: Version | None, now: float) -> bool:
    if candidate is not None and not state.candidate.names(candidate):
        return False
    return held(state, now)
