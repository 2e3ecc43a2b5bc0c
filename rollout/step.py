"""The judging of a step: what surely fails at once, what passes when it has been held; pure."""

from __future__ import annotations

from analyzer.estimate import Estimate
from analyzer.result import RuleVerdict
from rollout import judging
from rollout.seen import Seen
from rollout.state import State
from rollout.transitions import advance, failed, refuted, unproven
from rollout.types import Traffic

# Of fewer requests one that failed would be enough to show that more than 1 % fail.
FEWEST_TO_REFUTE = 30
# But where surely so many of them fail, fewer will do: five of five, nine of eleven.
BROKEN, FEWEST_OF_BROKEN = 0.4, 5
MARGIN_S = 5.0  # by which clocks of two machines may differ, and a reading may be late
_ALL = 100  # percent


def judge_step(state: State, seen: Seen, now: float) -> State:
    """The next state of a step whose share is set and whose candidate is ready."""
    if seen.candidate is None or seen.stable is None:
        return state
    share, limits = _verdicts(state, seen.candidate, seen.stable)
    both = seen.candidate.requests + seen.stable.requests
    state = state.but(
        verdicts=(share, *limits), share_seen=seen.candidate.requests / both if both else None
    )
    missed = _missed(state, seen.candidate, limits) or _missed_of_late(state, seen)
    if _enough(state, seen.candidate) and _exceeded(state, seen.candidate, seen.stable):
        missed = [share, *missed]
    if missed:
        return failed(state, now, missed)
    if state.paused or now < _due(state):
        return state
    lacking = _lacking(state, seen.candidate, seen.stable, share)
    if lacking:
        late = now >= _due(state) + _again_s(state)
        return unproven(state, now, lacking, failing=_failing(limits)) if late else state
    open_ = [each for each in limits if not each.passed]
    if open_:
        why = "; ".join(each.text for each in open_)
        return unproven(state, now, why, failing=_failing(limits))
    return _judge_golden(state, seen, now)


def judge_before(state: State, seen: Seen, now: float) -> State:
    """The next state of a step whose share is not set yet, by the requests of the share before.

    Nothing passes by them; what is surely missed comes back and does not wait for further pods.
    """
    if seen.candidate is None or seen.stable is None:
        return state
    _, limits = _verdicts(state, seen.candidate, seen.stable)
    missed = _missed(state, seen.candidate, limits) or _missed_of_late(state, seen)
    return failed(state.but(verdicts=limits), now, missed) if missed else state


def proven(state: State, seen: Seen, now: float) -> bool:
    """Whether the step has been passed but for the golden images, which are asked about last."""
    if seen.candidate is None or seen.stable is None or not (state.ready and state.applied):
        return False
    share, limits = _verdicts(state, seen.candidate, seen.stable)
    if state.paused or now < _due(state) or _lacking(state, seen.candidate, seen.stable, share):
        return False
    return all(each.passed for each in limits)


def _enough(state: State, candidate: Traffic) -> bool:
    """Whether a limit can be refuted by so many requests."""
    return candidate.requests >= min(FEWEST_TO_REFUTE, state.plan.steps[state.step].least_requests)


def _missed(state: State, candidate: Traffic, limits: tuple[RuleVerdict, ...]) -> list[RuleVerdict]:
    """Limits that are surely missed, if there were requests enough to say so."""
    missed = refuted(limits)
    if _enough(state, candidate):
        return missed
    unwell = {"errors": candidate.errors, "rejected": candidate.rejected}
    return [
        each
        for each in missed
        if candidate.requests >= FEWEST_OF_BROKEN
        and Estimate.share(unwell.get(each.rule, 0), candidate.requests).low > BROKEN
    ]


def _missed_of_late(state: State, seen: Seen) -> list[RuleVerdict]:
    """Limits that are surely missed in each of the newest stretches.

    There are many stretches in a day, and by chance a good version surely misses a limit in one of
    forty, but hardly in two in a row.
    """
    missed = []
    for each in seen.recent:
        _, limits = _verdicts(state, each.candidate, each.stable)
        missed.append({limit.rule: limit for limit in _missed(state, each.candidate, limits)})
    if not missed:
        return []
    again = set.intersection(*(set(limits) for limits in missed))
    since_s = seen.recent[0].candidate.seconds
    return [
        limit.model_copy(update={"text": f"in the last {since_s:.0f} s: {limit.text}"})
        for rule, limit in missed[0].items()
        if rule in again
    ]


def _failing(limits: tuple[RuleVerdict, ...]) -> bool:
    """Whether more requests fail than may, as far as can be seen, though it is not proven."""
    return any(
        not each.passed and each.figure is not None and each.figure > each.threshold
        for each in limits
        if each.rule in ("errors", "rejected")
    )


def _exceeded(state: State, candidate: Traffic, stable: Traffic) -> bool:
    tolerance = state.plan.share_tolerance
    return judging.exceeded(candidate, stable, state.share_set, tolerance)


def _verdicts(
    state: State, candidate: Traffic, stable: Traffic
) -> tuple[RuleVerdict, tuple[RuleVerdict, ...]]:
    """Of the share that the candidate really got, and of the limits."""
    model = f"{state.candidate.name}/{state.candidate.version}"
    tolerance = state.plan.share_tolerance
    share = judging.share(model, candidate, stable, state.share_set, tolerance)
    return share, judging.traffic(model, state.plan.limits, candidate, stable)


def _again_s(state: State) -> float:
    """For how long a step is held on where nothing was proven."""
    return max(state.plan.steps[state.step].hold_s, state.plan.interval_s)


def _due(state: State) -> float:
    """When the step is looked at the next time for whether it has passed.

    Not at every interval: each further look is one more chance to pass by luck.
    """
    hold_s = state.plan.steps[state.step].hold_s
    return state.since + hold_s + state.inconclusive * _again_s(state)


def _lacking(state: State, candidate: Traffic, stable: Traffic, share: RuleVerdict) -> str:
    """Why nothing can be said yet; empty: it can."""
    step = state.plan.steps[state.step]
    if candidate.requests < step.least_requests:
        return f"{candidate.requests:,} of {step.least_requests:,} requests; {share.text}"
    if not share.passed:
        return share.text
    counted = (candidate,) if state.share_set >= _ALL else (candidate, stable)
    return next((why for each in counted if (why := _unseen(each, step.hold_s))), "")


def _unseen(traffic: Traffic, hold_s: float) -> str:
    """Why a version has not been in sight for the time that it was held; empty: it has."""
    if traffic.age_s > 2 * traffic.interval_s + MARGIN_S:
        return f"nothing new has been counted for {traffic.age_s:.0f} s"
    if traffic.seconds + traffic.interval_s < hold_s / 2:
        return f"requests of {traffic.seconds:.0f} s were counted, of {hold_s:.0f} that it was held"
    return ""


def _judge_golden(state: State, seen: Seen, now: float) -> State:
    asked = state.plan.limits.golden
    if asked is None:
        return advance(_told(state, now), now)
    if seen.golden is None:
        return state
    model = f"{state.candidate.name}/{state.candidate.version}"
    verdict = judging.golden(model, seen.golden, asked.at_least)
    state = state.but(verdicts=(*state.verdicts, verdict))
    if verdict.passed:
        return advance(_told(state, now), now)
    if refuted((verdict,)):
        return failed(state, now, (verdict,))
    return unproven(state, now, verdict.text)


def _told(state: State, now: float) -> State:
    for each in state.verdicts:
        state = state.tell(now, each.text)
    return state
