"""What holds of every rollout, whatever is seen and wished for in whatever order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout.engine import Verb, decide, orders
from rollout.plan import Plan
from rollout.seen import Seen, asks
from rollout.state import MOST_EVENTS, Outcome, Phase, State, Wish, begin, read_state
from rollout.step import FEWEST_TO_REFUTE
from rollout.transitions import refuted, take_over
from rollout.types import Agreement, Golden, Readiness, Standing, Traffic
from tests.rollout.world import EDGES_S, STABLE, START, VERSION

OPEN = (Phase.DARK, Phase.SHADOW, Phase.STEP)

plans = st.builds(
    lambda shares, hold_s, least, failures, inconclusive, then, shadow, golden: Plan.model_validate(
        {
            "dark": {"golden": {"dataset": "x", "at_least": 0.9}} if golden else {},
            "shadow": {"dataset": "y", "at_least": 0.9} if shadow else None,
            "steps": [
                {"percent": percent, "hold_s": hold_s, "least_requests": least}
                for percent in sorted(shares)
            ],
            "limits": {"golden": {"at_least": 0.9}} if golden else {},
            "failure_limit": failures,
            "inconclusive_limit": inconclusive,
            "on_inconclusive": then,
        }
    ),
    st.sets(st.integers(1, 100), min_size=1, max_size=4),
    st.sampled_from([0.0, 30.0]),
    st.sampled_from([1, 400]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(["abort", "pause"]),
    st.booleans(),
    st.booleans(),
)


def answered(requests: int, errors: int = 0, slot: int = 1) -> Traffic:
    """Requests of one latency."""
    counts = [0] * len(EDGES_S)
    counts[slot] = requests - errors
    return Traffic(60.0, requests, errors, 0, EDGES_S, tuple(counts))


@st.composite
def looks(draw) -> Seen:
    """Anything that may be seen; mostly what lets it go on, so that its end is reached."""
    kind = draw(
        st.sampled_from(["good"] * 6 + ["any"] * 3 + ["refused", "unreachable", "unfinished"])
    )
    if kind in ("refused", "unreachable", "unfinished"):
        return Seen(**{kind: "no"})
    standing = Standing.READY
    if kind == "any":
        standing = draw(st.sampled_from(list(Standing)))
    bad = kind == "any" and draw(st.booleans())
    requests = draw(st.sampled_from([0, 20, 500, 5000])) if kind == "any" else 5000
    share = draw(st.sampled_from([0.0, 0.5, 1.0, None])) if kind == "any" else None
    return Seen(
        readiness=Readiness(standing),
        golden=Golden(500, 500, 100 if bad else 500),
        agreement=Agreement(500, 100 if bad else 500, 0),
        candidate=answered(requests, requests // 2 if bad else 0),
        stable=None if share is None else answered(int(requests * (1 - share))),
    )


moments = st.tuples(
    st.sampled_from([0.0, 10.0, 10.0, 40.0, 700.0]),
    looks(),
    st.sampled_from([None] * 12 + list(Wish)),
    st.booleans(),  # killed, and taken over by another one
)


def as_set(state: State, seen: Seen) -> Seen:
    """Where nothing else is said, requests are shared out as was set."""
    if seen.candidate is None or seen.stable is not None:
        return seen
    theirs = seen.candidate.requests * (100 - state.share_set) // max(state.share_set, 1)
    return replace(seen, stable=answered(theirs))


def asked_for(state: State, seen: Seen) -> Seen:
    """What a loop would have seen: only what the phase asks for."""
    if seen.refused or seen.unreachable or seen.unfinished:
        return seen
    if not state.applied:
        return Seen(carried_out=True)
    wanted = asks(state)
    if not wanted.readiness:
        return Seen()
    ready = seen.readiness is not None and seen.readiness.standing is Standing.READY
    return replace(
        as_set(state, seen),
        golden=seen.golden if ready and (wanted.golden or wanted.golden_after) else None,
        agreement=seen.agreement if ready and wanted.agreement else None,
        candidate=seen.candidate if ready and wanted.traffic else None,
    )


@settings(max_examples=300, deadline=None)
@given(plans, st.lists(moments, max_size=60))
def test_what_holds_of_every_rollout(plan, happens):
    """See each line."""
    now = START
    state = take_over(begin(VERSION, STABLE, plan, now), "one", now)
    told, withdrawn = 0, False
    for waited, look, wanted, killed in happens:
        now += waited
        if killed:
            state = take_over(read_state(state.text()), "another", now)
        if wanted is not None:
            state = state.but(wish=wanted)
        seen = asked_for(state, look)
        if not state.applied and seen.carried_out:
            for order in orders(state):
                if order.verb is Verb.SHARE:
                    steps = [step.percent for step in plan.steps]
                    assert order.percent == steps[state.step]  # never more than the plan's share
                    assert order.percent >= told  # it only rises
                    assert not withdrawn
                    told = order.percent
                withdrawn |= order.verb is Verb.WITHDRAW
        following = decide(state, seen, now)
        check_a_change(state, following, seen, now)
        assert read_state(following.text()) == following
        assert len(following.events) <= MOST_EVENTS
        state = following
    if state.done:
        assert withdrawn == (state.outcome is Outcome.ABORTED)


def check_a_change(before: State, after: State, seen: Seen, now: float) -> None:
    """What may and what must follow."""
    if after.wish is not None:  # whether it can be had is not known
        assert (after.wish, after.phase) == (Wish.ABORT, Phase.PROMOTING)
        assert seen.unreachable
    if before.wish is Wish.ABORT and before.phase in OPEN:
        assert orders(after)[0].verb is Verb.WITHDRAW  # in the very next decision
        assert not after.applied
        return
    if before.phase in (Phase.ABORTING, Phase.DONE):
        assert after.phase is not Phase.PROMOTING
    if seen.refused or seen.unreachable or seen.unfinished:
        assert after.share_set <= before.share_set or before.wish is Wish.PROMOTE
    passed = (before.phase, before.step) != (after.phase, after.step) and after.phase in (
        Phase.STEP,
        Phase.PROMOTING,
    )
    if passed and before.wish is Wish.PROMOTE:
        assert before.ready
        assert refuted(before.verdicts) == []
    elif passed:
        assert not before.paused or before.wish is Wish.RESUME
        assert refuted(after.verdicts) == []  # no way from what failed to promotion
        assert all(each.passed for each in after.verdicts)
    if passed and before.phase is Phase.STEP and before.wish is not Wish.PROMOTE:
        step = before.plan.steps[before.step]
        assert now - before.since >= step.hold_s or before.wish is Wish.RESUME
        assert seen.candidate.requests >= step.least_requests
        share = [each for each in after.verdicts if each.rule == "share"]
        assert [each.passed for each in share] == [True]


@settings(max_examples=100, deadline=None)
@given(plans, st.lists(moments, max_size=30))
def test_a_rollout_of_which_all_is_good_ends_whatever_came_before(plan, happens):
    """It never gets stuck: from anywhere, looks without a flaw or an abort lead to the end."""
    now = START
    state = take_over(begin(VERSION, STABLE, plan, now), "one", now)
    for waited, look, wanted, _ in happens:
        now += waited
        state = state if wanted is None else state.but(wish=wanted)
        state = decide(state, asked_for(state, look), now)
    good = Seen(
        readiness=Readiness(Standing.READY),
        golden=Golden(500, 500, 500),
        agreement=Agreement(500, 500, 0),
        candidate=answered(5000),
    )
    for _ in range(60):
        if state.paused:
            state = state.but(wish=Wish.RESUME)
        now += 40
        state = decide(state, asked_for(state, good), now)

    assert state.done


def running(**changes: object) -> State:
    """A rollout in its first step, whose share is set."""
    plan = Plan.model_validate({"steps": [{"percent": 50, "hold_s": 60, "least_requests": 100}]})
    state = begin(VERSION, STABLE, plan, START)
    return state.but(
        phase=Phase.STEP, ready=True, applied=True, share_set=50, holder="one", **changes
    )


READY = Readiness(Standing.READY)


def test_nothing_passes_before_its_time():
    """However many requests there were."""
    seen = Seen(readiness=READY, candidate=answered(5000), stable=answered(5000))

    early = decide(running(), seen, START + 59)
    due = decide(running(), seen, START + 60)

    assert (early.phase, due.phase) == (Phase.STEP, Phase.PROMOTING)
    assert early.share_seen == 0.5


def test_one_request_that_failed_is_not_the_end():
    """Although one of one shows that more than 1 % fail."""
    stumbled = Seen(readiness=READY, candidate=answered(1, errors=1), stable=answered(1))
    fewest = answered(FEWEST_TO_REFUTE, errors=FEWEST_TO_REFUTE)
    broken = Seen(readiness=READY, candidate=fewest, stable=answered(30))

    assert decide(running(), stumbled, START + 5).phase is Phase.STEP
    assert decide(running(), broken, START + 5).phase is Phase.ABORTING


def test_a_candidate_that_is_no_longer_ready_comes_back():
    """Its requests may go nowhere, which its metrics would not show."""
    seen = Seen(readiness=Readiness(Standing.STARTING, "0 of 2 pods"))

    after = decide(running(), seen, START + 5)

    assert after.phase is Phase.ABORTING
    assert after.why == "the candidate is no longer ready: 0 of 2 pods"


def test_it_is_looked_at_again_only_after_another_hold():
    """Each look is one more chance to pass by luck."""
    slow = Seen(readiness=READY, candidate=answered(5000, slot=2), stable=answered(5000))
    fine = Seen(readiness=READY, candidate=answered(9000), stable=answered(9000))

    held = decide(running(), slow, START + 60)

    assert held.inconclusive == 1
    assert "p99_ratio" in held.events[-1].text
    assert decide(held, fine, START + 119).phase is Phase.STEP
    assert decide(held, fine, START + 120).phase is Phase.PROMOTING


@pytest.mark.parametrize("phase", [Phase.PROMOTING, Phase.RECORDING])
def test_what_is_decided_is_not_aborted(phase):
    """The place may have begun to serve the candidate."""
    after = decide(running().but(phase=phase, wish=Wish.ABORT), Seen(), START)

    assert after.phase is phase
    assert after.events[-1].text.startswith("not aborted: it is decided already")


def test_a_promotion_that_is_through_is_not_aborted():
    """The wish came while the place was at it: what it says now counts."""
    promoting = running().but(phase=Phase.PROMOTING, applied=False, wish=Wish.ABORT)

    through = decide(promoting, Seen(carried_out=True), START)
    waits = decide(promoting, Seen(unfinished="0 of 2 pods"), START)

    assert (through.phase, through.outcome) == (Phase.RECORDING, Outcome.PROMOTED)
    assert waits.phase is Phase.ABORTING


def test_an_abort_waits_while_nobody_knows_whether_the_promotion_came_through():
    """Its answer was lost; the next one tells."""
    promoting = running().but(phase=Phase.PROMOTING, applied=False, wish=Wish.ABORT)

    lost = decide(promoting, Seen(unreachable="no answer"), START)
    undone = decide(lost, Seen(unreachable="no answer", undone=True), START + 5)

    assert (lost.phase, lost.wish) == (Phase.PROMOTING, Wish.ABORT)
    assert (undone.phase, undone.wish) == (Phase.ABORTING, None)


def test_a_promotion_that_cannot_be_had_is_not_tried_for_ever():
    """Where it has surely not come through; else nobody knows what to go back from."""
    state = running().but(phase=Phase.PROMOTING, applied=False)
    down = Seen(unreachable="webhook down", undone=True)
    undone = decide(decide(state, down, START), down, START + 601)
    lost = Seen(unreachable="no answer")
    unknown = decide(decide(state, lost, START), lost, START + 601)

    assert (undone.phase, unknown.phase) == (Phase.ABORTING, Phase.PROMOTING)


@pytest.mark.parametrize(
    "state", [{"applied": False}, {"phase": Phase.PROMOTING, "applied": False}]
)
def test_a_candidate_is_judged_while_the_place_does_not_answer(state):
    """It has requests meanwhile."""
    down = Seen(unreachable="webhook down", undone="phase" in state)
    well = replace(down, readiness=READY, candidate=answered(500), stable=answered(500))
    bad = replace(well, candidate=answered(500, 250))

    judged = [decide(running().but(**state), seen, START + 30) for seen in (well, bad)]

    assert [each.phase for each in judged] == [state.get("phase", Phase.STEP), Phase.ABORTING]


def test_a_promotion_is_waited_for_while_it_comes_further():
    """Many pods take their time, one after the other; one that never comes is too long."""
    state = running().but(phase=Phase.PROMOTING, applied=False, since=START)
    for ready in range(24):
        waits = Seen(unfinished=f"{ready} of 24 pods are ready")
        state = decide(state, waits, START + ready * 500)
        assert state.phase is Phase.PROMOTING
    stands = Seen(unfinished="23 of 24 pods are ready")

    stuck = [decide(state, stands, START + 23 * 500 + after) for after in (600, 601)]

    assert [each.phase for each in stuck] == [Phase.PROMOTING, Phase.ABORTING]
    assert stuck[1].why == ("the promotion has not come further for 600 s: 23 of 24 pods are ready")


@pytest.mark.parametrize("standing", [Standing.STARTING, Standing.FAILED])
@pytest.mark.parametrize("phase", [Phase.STEP, Phase.PROMOTING])
def test_a_candidate_that_is_no_longer_ready_comes_back_though_an_order_waits(phase, standing):
    """It has requests, which go nowhere."""
    waiting = running().but(phase=phase, applied=False)
    seen = Seen(unfinished="0 of 2 pods", readiness=Readiness(standing, "0 of 1 pods"))

    after = decide(waiting, seen, START + 5)

    assert after.phase is Phase.ABORTING
    assert after.why.endswith("ready: 0 of 1 pods")


def test_a_candidate_that_is_gone_while_its_share_waits_is_launched_again():
    """As in every other step; of a promotion the place itself says what is left."""
    seen = Seen(unfinished="0 of 2 pods", readiness=Readiness(Standing.ABSENT))

    step = decide(running().but(applied=False), seen, START + 5)
    promoting = decide(running().but(applied=False, phase=Phase.PROMOTING), seen, START + 5)

    assert [order.verb for order in orders(step)] == [Verb.LAUNCH]
    assert (promoting.phase, promoting.ready) == (Phase.PROMOTING, True)


def test_a_place_that_says_what_it_waits_for_is_in_sight():
    """One connection that is lost now and one long ago are no long time out of sight."""
    state = decide(running().but(applied=False), Seen(unreachable="lost"), START)
    for second in range(10, 500, 10):
        state = decide(state, Seen(unfinished="0 of 2 pods"), START + second)
    state = decide(state, Seen(unreachable="lost"), START + 599)

    assert state.phase is Phase.STEP
    assert state.blind_since == START + 599


def test_a_share_is_not_said_to_be_exceeded_while_one_version_was_counted_for_longer():
    """They are scraped at different times."""
    sooner = replace(answered(200), seconds=15.0)
    later = replace(answered(60), seconds=5.0)
    caught_up = replace(answered(60), seconds=14.0)

    early = decide(running(), Seen(readiness=READY, candidate=sooner, stable=later), START + 15)
    sure = decide(running(), Seen(readiness=READY, candidate=sooner, stable=caught_up), START + 15)

    assert (early.phase, sure.phase) == (Phase.STEP, Phase.ABORTING)


def test_the_newest_events_are_kept():
    """A state must fit where it is kept."""
    state = running()
    for number in range(300):
        state = state.tell(START + number, f"{number}" + "x" * 2000)

    assert state.events[-1].text.startswith("299x")
    assert len(state.text()) < 100_000
