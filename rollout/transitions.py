"""The changes that a rollout's state can make; pure. What leads to each of them is in engine.py."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.result import RuleVerdict
from rollout.state import Outcome, Phase, State, Wish

OPEN = (Phase.DARK, Phase.SHADOW, Phase.STEP)  # it may still go either way
_FRESH: dict[str, object] = {
    "applied": False,
    "failures": 0,
    "inconclusive": 0,
    "share_seen": None,
    "refused": False,
}


def refuted(verdicts: Sequence[RuleVerdict]) -> list[RuleVerdict]:
    """Those that surely failed."""
    return [each for each in verdicts if each.decided and not each.passed]


def advance(state: State, now: float) -> State:
    """The phase or step has been passed: to the next one."""
    state = state.tell(now, f"{state.where}: passed")
    if state.phase is Phase.DARK and state.plan.shadow is not None:
        return state.but(phase=Phase.SHADOW, since=now, **_FRESH)
    following = state.step + 1 if state.phase is Phase.STEP else 0
    if following == len(state.plan.steps):
        return promote(state, now, "every step was passed")
    percent = state.plan.steps[following].percent
    return state.but(phase=Phase.STEP, step=following, share_set=percent, since=now, **_FRESH)


def promote(state: State, now: float, why: str) -> State:
    """The candidate is to be the version that is served."""
    state = state.but(phase=Phase.PROMOTING, paused=False, since=now, **_FRESH)
    return state.tell(now, f"promoting: {why}")


def abort(state: State, now: float, why: str) -> State:
    """All requests back to the stable version."""
    state = state.but(phase=Phase.ABORTING, paused=False, why=why, share_set=0, since=now, **_FRESH)
    return state.tell(now, f"aborting: {why}")


def failed(state: State, now: float, verdicts: Sequence[RuleVerdict]) -> State:
    """A look found a limit surely missed: borne as often as the plan says."""
    why = "; ".join(each.text for each in verdicts)
    return failed_because(state, now, why)


def failed_because(state: State, now: float, why: str) -> State:
    """The same, of what no limit is about."""
    failures, limit = state.failures + 1, state.plan.failure_limit
    state = state.but(failures=failures)
    if failures > limit:
        return abort(state, now, why)
    return state.tell(now, f"{state.where}: failed {failures} of {limit} that are borne: {why}")


def unproven(state: State, now: float, why: str, *, failing: bool = False) -> State:
    """A look proved nothing: held on as often as the plan says, then what it says.

    Nobody is waited for where the candidate is ``failing`` by all that is seen.
    """
    times, limit = state.inconclusive + 1, state.plan.inconclusive_limit
    if times <= limit:
        state = state.but(inconclusive=times)
        return state.tell(now, f"{state.where}: not proven, {times} of {limit}: {why}")
    why = f"{state.where}: still not proven: {why}"
    if state.plan.on_inconclusive == "abort" or failing:
        return abort(state, now, why)
    return state.but(paused=True, inconclusive=0).tell(
        now, f"paused: {why}; resume, promote or abort it"
    )


def obey(state: State, now: float, *, undone: bool = False) -> State:
    """What another process wishes, if it can be had.

    Args:
        state: the present one.
        now: seconds of the epoch.
        undone: the place has just said that it has not done what it was told last.
    """
    wish, state = state.wish, state.but(wish=None)
    if wish is Wish.ABORT:
        return _obey_abort(state, now, undone)
    if wish is Wish.PAUSE and state.phase in OPEN and not state.paused:
        return state.but(paused=True).tell(now, f"paused in {state.where}, as was asked")
    if wish is Wish.RESUME and state.paused:
        state = state.but(paused=False, inconclusive=0, since=now)
        return state.tell(now, f"resumed in {state.where}, as was asked")
    if wish is Wish.PROMOTE:
        return _obey_promote(state, now)
    return state


def _obey_abort(state: State, now: float, undone: bool) -> State:
    if state.phase in OPEN or (state.phase is Phase.PROMOTING and undone):
        return abort(state, now, "it was asked for")
    if state.phase is Phase.ABORTING or state.outcome is Outcome.ABORTED:
        return state
    return state.tell(
        now, "not aborted: it is decided already; to go back, roll out the previous version"
    )


def _obey_promote(state: State, now: float) -> State:
    if state.phase not in OPEN:
        return state
    missed = "; ".join(each.text for each in refuted(state.verdicts))
    if not state.ready:
        missed = "the candidate is not ready"
    if missed:
        return state.tell(now, f"not promoted though it was asked for: {missed}")
    return promote(state, now, f"it was asked for in {state.where}")


def take_over(state: State, holder: str, now: float) -> State:
    """``holder`` carries it out from here on, beginning with the phase's orders, which may be
    half carried out; what is judged begins anew.
    """
    began = f"{holder} carries it out" + (f", in {state.where}" if state.holder else "")
    return state.but(
        holder=holder, renewed_at=now, applied=state.done, since=now, share_seen=None
    ).tell(now, began)
