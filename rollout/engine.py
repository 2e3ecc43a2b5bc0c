"""What a rollout does next; pure. docs/rollout.md has the picture.

``decide`` gives the next state, ``orders`` what must hold in a state. A state is written before its
orders are carried out, and whoever takes over carries them out again: so it ends the same wherever
it was killed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rollout import judging
from rollout.seen import Seen
from rollout.state import Outcome, Phase, State, Wish
from rollout.step import judge_before, judge_step
from rollout.transitions import (
    OPEN,
    abort,
    advance,
    failed,
    failed_because,
    obey,
    refuted,
    unproven,
)
from rollout.types import Readiness, Standing


class Verb(StrEnum):
    """What an order is."""

    LAUNCH = "launch"
    SHARE = "share"
    PROMOTE = "promote"
    WITHDRAW = "withdraw"
    RECORD = "record"  # in the registry, how it ended


@dataclass(frozen=True, slots=True)
class Order:
    """To the Place, or to the registry; ``percent`` is a share's."""

    verb: Verb
    percent: int = 0


_DIGITS = re.compile(r"\d+")
_AT_THE_END = {
    Phase.PROMOTING: Order(Verb.PROMOTE),
    Phase.ABORTING: Order(Verb.WITHDRAW),
    Phase.RECORDING: Order(Verb.RECORD),
}


def orders(state: State) -> tuple[Order, ...]:
    """What is to be carried out while ``state.applied`` is false; all of it may be repeated."""
    if state.phase in _AT_THE_END:
        return (_AT_THE_END[state.phase],)
    if state.phase in OPEN and not state.ready:
        return (Order(Verb.LAUNCH),)
    if state.phase is Phase.STEP:
        return (Order(Verb.SHARE, state.share_set),)
    return ()


def decide(state: State, seen: Seen, now: float) -> State:
    """The next state.

    Args:
        state: the present one.
        seen: what came of carrying out its orders, or of looking.
        now: seconds of the epoch.
    """
    phase = state.phase
    if state.wish is not None and not _must_wait(state, seen):
        undone = bool(seen.refused or seen.unfinished or seen.undone)
        state = obey(state, now, undone=undone)
        if state.phase is not phase:
            return state  # what was seen is of the phase before
    if seen.refused:
        return _refused(state, seen.refused, now)
    if seen.unfinished:
        return _unfinished(state, seen, now)
    if seen.unreachable:
        return _blind(state, seen, now)
    if seen.carried_out or seen.readiness is not None:
        state = _sighted(state, now)
    return _looked(state, seen, now) if state.applied else _told(state, seen, now)


def _must_wait(state: State, seen: Seen) -> bool:
    """Whether an abort cannot be had now nor refused: the promotion may have come through or not.

    The wish stays until the place has said which.
    """
    if state.phase is not Phase.PROMOTING or state.wish is not Wish.ABORT:
        return False
    return bool(seen.unreachable) and not seen.undone


def _told(state: State, seen: Seen, now: float) -> State:
    """After the phase's orders were given."""
    if seen.readiness is not None and seen.readiness.standing is Standing.ABSENT:
        return _lost(state, now)  # there is nothing that requests could be shared with
    return _carried_out(state, now) if seen.carried_out else state


def _looked(state: State, seen: Seen, now: float) -> State:
    """After a look, for which the orders had been carried out."""
    if state.phase not in OPEN or seen.readiness is None:
        return state
    standing = _standing(state, seen.readiness, now)
    if standing is not None:
        return standing
    if state.phase is Phase.STEP:
        return judge_step(state, seen, now)
    return _judge_images(state, seen, now)


def _refused(state: State, why: str, now: float) -> State:
    if state.phase in OPEN:
        return abort(state, now, why)
    if state.phase is Phase.ABORTING:  # nobody else would take the candidate's requests from it
        return _troubled(state, "is refused, goes on trying", why, now)
    return state.but(refused=True, trouble=why).tell(now, f"{state.where}: refused: {why}")


def _unfinished(state: State, seen: Seen, now: float) -> State:
    """What was ordered is not through yet; the candidate has requests meanwhile, and is judged."""
    what = seen.unfinished
    if state.blind_since is not None:
        state = _sighted(state, now)
    if what != state.trouble:
        state = state.but(moved_at=now)
    state = _troubled(state, "waits", what, now)
    if state.phase in (Phase.STEP, Phase.PROMOTING) and state.ready:
        judged = _judge_beside(state, seen, now)
        if judged is not None:
            return judged
    late = _late(state, now)
    return abort(state, now, f"{late}: {what}") if late else state


def _judge_beside(state: State, seen: Seen, now: float) -> State | None:
    """What follows of a candidate that has requests while an order waits; None: nothing."""
    found = seen.readiness
    # Of a promotion the candidate's own may be gone already; whether it is, the place says next.
    if found is not None and not (
        state.phase is Phase.PROMOTING and found.standing is Standing.ABSENT
    ):
        standing = _standing(state, found, now)
        if standing is not None:
            return standing
    judged = judge_before(state, seen, now)
    return None if judged is state else judged


def _late(state: State, now: float) -> str:
    """Why an order that is not through is waited for no more; empty: it is."""
    longest_s = state.plan.dark.timeout_s
    if state.phase in OPEN and not state.paused and now - state.since > longest_s:
        return f"not through after {longest_s:.0f} s"
    # Many pods take their time; what counts is that there is always one more.
    moved_at = max(state.moved_at, state.since)
    if state.phase is Phase.PROMOTING and now - moved_at > longest_s:
        return f"the promotion has not come further for {longest_s:.0f} s"
    return ""


def _troubled(state: State, does: str, why: str, now: float) -> State:
    if _DIGITS.sub("", state.trouble) != _DIGITS.sub("", why):  # not for each second or pod
        state = state.tell(now, f"{state.where}: {does}: {why}")
    return state.but(trouble=why, refused=False)


def _blind(state: State, seen: Seen, now: float) -> State:
    """The place does not answer; what the candidate's pods and counters tell is judged anyway.

    Of a promotion only where it has surely not come through: else there may be no way back.
    """
    why = seen.unreachable
    since = now if state.blind_since is None else state.blind_since
    state = _troubled(state, "goes on trying", why, now).but(blind_since=since)
    if state.ready and (state.phase is Phase.STEP or seen.undone):
        judged = _judge_beside(state, seen, now)
        if judged is not None:
            return judged
    longest = state.plan.blind_timeout_s
    undecided = state.phase in OPEN or seen.undone
    if undecided and longest is not None and now - since > longest:
        return abort(state, now, f"out of sight for {now - since:.0f} s: {why}")
    return state


def _sighted(state: State, now: float) -> State:
    if state.blind_since is None:
        return state.but(trouble="") if state.trouble else state
    away = now - state.blind_since
    return state.but(blind_since=None, trouble="").tell(now, f"in sight again after {away:.0f} s")


def _carried_out(state: State, now: float) -> State:
    state = state.but(applied=True, refused=False)
    if state.phase is Phase.PROMOTING:
        return state.but(
            phase=Phase.RECORDING, applied=False, outcome=Outcome.PROMOTED, share_set=100
        )
    if state.phase is Phase.ABORTING:
        return state.but(phase=Phase.RECORDING, applied=False, outcome=Outcome.ABORTED)
    if state.phase is Phase.RECORDING:
        ended = f"{state.outcome}: {state.why}" if state.why else f"{state.outcome}"
        return state.but(phase=Phase.DONE, holder="").tell(now, ended)
    if state.phase is Phase.STEP and state.ready:
        return state.but(since=now).tell(now, f"{state.where}: set")
    return state


def _standing(state: State, found: Readiness, now: float) -> State | None:
    """What follows of the candidate's standing; None: it is ready, and as it was."""
    if found.standing is Standing.FAILED:
        return abort(state, now, f"the candidate does not become ready: {found.reason}")
    if found.standing is Standing.READY:
        if state.ready:
            return None
        state = state.but(ready=True, since=now, applied=state.phase is not Phase.STEP)
        return state.tell(now, f"{state.where}: the candidate is ready")
    if state.ready and found.standing is Standing.STARTING:
        return failed_because(state, now, f"the candidate is no longer ready: {found.reason}")
    if state.ready:
        return _lost(state, now)
    if not state.paused and now - state.since > state.plan.dark.timeout_s:
        why = found.reason or str(found.standing)
        return abort(state, now, f"not ready after {state.plan.dark.timeout_s:.0f} s: {why}")
    return state.but(applied=found.standing is not Standing.ABSENT)


def _lost(state: State, now: float) -> State:
    state = state.but(ready=False, applied=False, since=now)
    return unproven(state, now, "the candidate is gone, and is launched again")


def _judge_images(state: State, seen: Seen, now: float) -> State:
    """Of the dark launch and of the shadow phase."""
    if state.paused:
        return state
    model = f"{state.candidate.name}/{state.candidate.version}"
    golden, shadow = state.plan.dark.golden, state.plan.shadow
    if state.phase is Phase.DARK:
        if golden is None:
            return advance(state, now)
        if seen.golden is None:
            return state
        verdict = judging.golden(model, seen.golden, golden.at_least)
    else:
        if shadow is None or seen.agreement is None:
            return state
        verdict = judging.agreement(model, seen.agreement, shadow.at_least)
    state = state.but(verdicts=(verdict,))
    if verdict.passed:
        return advance(state.tell(now, verdict.text), now)
    if refuted((verdict,)):
        return failed(state, now, (verdict,))
    return unproven(state, now, verdict.text)
