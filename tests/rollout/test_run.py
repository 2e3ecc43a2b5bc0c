"""Whole rollouts in a world of memory: what they end with, whatever happens meanwhile."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

import numpy as np
import pytest

from rollout import run
from rollout.errors import (
    BusyError,
    NotFoundError,
    RolloutError,
    UnfinishedError,
    UnreachableError,
)
from rollout.lease import LEASE_S, RENEW_S, wish
from rollout.plan import Plan
from rollout.run import roll_out
from rollout.state import Outcome, Phase, Wish, read_state
from rollout.types import Version
from tests.rollout.world import (
    CANDIDATE,
    STABLE,
    START,
    VERSION,
    KilledError,
    Quality,
    World,
    plan,
)

PROMOTED = (CANDIDATE, 100, (("champion", CANDIDATE), ("previous", STABLE)), "promoted")


def carry_out(world: World, given: Plan | None = None, candidate=VERSION, holder="one", **of):
    """To its end; gives the state and the events' texts."""
    told = []
    state = roll_out(
        world.parts, candidate, given or plan(), holder=holder, clock=world, tell=told.append, **of
    )
    return state, [each.text for each in told]


def came_back(world: World) -> bool:
    """Everything goes to the stable version, and the registry says so."""
    return (
        world.served == STABLE
        and world.percent == 0
        and world.alias == {"champion": STABLE}
        and world.tag.startswith("aborted: ")
    )


def test_a_good_candidate_is_promoted_step_by_step():
    """By the plan's shares, each after the other."""
    world = World()

    state, told = carry_out(world)

    assert state.outcome is Outcome.PROMOTED
    assert world.end() == PROMOTED
    assert world.calls == ["launch", "share 10", "share 100", "promote", "promoted"]
    assert world.clock - START >= 15 + 2 * 60
    assert any("errors of digits/2" in text and "passed" in text for text in told)


@pytest.mark.parametrize(
    ("does", "rule"),
    [
        (Quality(errors=0.2), "errors of digits/2"),
        (Quality(rejected=0.3), "rejected of digits/2"),
        (Quality(latency_s=0.15), "p99_ratio of digits/2"),
        (Quality(latency_s=9.0), "p99_ratio of digits/2"),
    ],
)
def test_a_candidate_that_is_surely_worse_comes_back_without_waiting(does, rule):
    """Before the step has been held, and with the reason in the registry."""
    world = World(candidate_does=does)

    state, _ = carry_out(world)

    assert state.outcome is Outcome.ABORTED
    assert came_back(world)
    assert rule in world.tag
    assert max(world.ever) == 10
    assert world.clock - START < 15 + 60


def test_golden_images_are_asked_about_before_a_request_is_sent():
    """A candidate that misses them never gets one."""
    world = World(candidate_does=Quality(accuracy=0.6))

    state, _ = carry_out(world, plan(dark={"golden": {"dataset": "test", "at_least": 0.9}}))

    assert state.outcome is Outcome.ABORTED
    assert world.calls == ["launch", "withdraw", "aborted"]
    assert "golden of digits/2" in world.tag


def test_a_candidate_that_answers_otherwise_than_the_stable_one_gets_no_request():
    """The shadow phase."""
    world = World(candidate_does=Quality(agreement=0.7))

    state, _ = carry_out(world, plan(shadow={"dataset": "replay", "at_least": 0.9}))

    assert state.outcome is Outcome.ABORTED
    assert max(world.ever) == 0
    assert "agreement of digits/2" in world.tag


def test_a_plan_with_everything_is_passed_by_a_good_candidate():
    """Dark launch with golden images, shadow, steps with golden images."""
    world = World()
    everything = plan(
        dark={"golden": {"dataset": "test", "at_least": 0.9}},
        shadow={"dataset": "replay", "at_least": 0.9},
        limits={"golden": {"at_least": 0.9}, "p99": {"at_most_s": 0.1, "ratio_at_most": 2}},
    )

    _, told = carry_out(world, everything)

    assert world.end() == PROMOTED
    assert "shadow: passed" in told


def test_accuracy_that_goes_down_in_a_step_is_noticed():
    """Golden images are asked about again when all else of a step is proven."""
    world = World()
    world.at[40] = lambda: setattr(world, "candidate_does", Quality(accuracy=0.5))
    both = plan(
        dark={"golden": {"dataset": "test", "at_least": 0.9}}, limits={"golden": {"at_least": 0.9}}
    )

    carry_out(world, both)

    assert came_back(world)
    assert world.ever == [0, 10]


def test_a_share_that_never_arrives_is_noticed_and_nothing_is_judged():
    """As with a controller that accepts a canary and sends it nothing."""
    world = World(deaf=True)

    state, _ = carry_out(world)

    assert state.outcome is Outcome.ABORTED
    assert came_back(world)
    assert "share of digits/2: 0 % (0 of " in world.tag
    assert world.ever == [0, 10]


def test_a_candidate_that_gets_more_than_its_share_is_not_judged_by_it():
    """Though all that it answered was fine."""
    world = World(gets=0.5)

    state, _ = carry_out(world)

    assert state.outcome is Outcome.ABORTED
    assert came_back(world)
    assert "share of digits/2: 50 % (" in world.tag
    assert world.ever == [0, 10]


def test_a_candidate_that_surely_gets_more_than_its_share_comes_back_without_waiting():
    """Whoever sets the shares does not rule here, and it may be all requests."""
    world = World(gets=0.976)
    held = [{"percent": 25, "hold_s": 3600, "least_requests": 400}]

    carry_out(world, plan(steps=held, on_inconclusive="pause"))

    assert came_back(world)
    assert "share of digits/2: 97.6 % (" in world.tag
    assert world.clock - START < 60


def test_a_stable_version_that_is_no_longer_counted_at_100_percent_is_no_flaw():
    """Nobody asks it, so its pods are stopped."""
    world = World()
    counted = world.traffic

    def traffic(version, since):
        if version == STABLE and world.percent == 100:
            raise UnreachableError("nothing of version 1")
        return counted(version, since)

    world.traffic = traffic
    held = [{"percent": 10, "hold_s": 60}, {"percent": 100, "hold_s": 1000}]

    carry_out(world, plan(steps=held))

    assert world.end() == PROMOTED


def test_a_candidate_of_few_requests_that_all_fail_comes_back():
    """Five of five leave no doubt."""
    world = World(rate=2.0, candidate_does=Quality(errors=1.0))

    carry_out(world, plan(on_inconclusive="pause"))

    assert came_back(world)
    assert world.clock - START < 60


def test_nobody_is_waited_for_while_more_requests_fail_than_may():
    """Though too few to prove it; a pause is for what looks well."""
    world = World(rate=0.5, candidate_does=Quality(errors=0.1))

    _, told = carry_out(world, plan(on_inconclusive="pause"))

    assert came_back(world)
    assert not any(text.startswith("paused") for text in told)


def test_a_candidate_is_judged_while_its_next_share_waits_for_pods():
    """It has the share before all the time."""
    world = World()
    world.at[60] = lambda: setattr(world, "takes", 1000)  # the share of 100 % does not come
    world.at[100] = lambda: setattr(world, "candidate_does", Quality(errors=0.5))
    world.at[200] = lambda: setattr(world, "takes", 1)

    carry_out(world)

    assert came_back(world)
    assert world.ever == [0, 10]
    assert "errors of digits/2" in world.tag


def test_a_candidate_that_dies_while_its_next_share_waits_for_pods_comes_back():
    """The share that it has goes nowhere, and what nobody answers nobody counts."""
    world = World()
    world.at[60] = lambda: setattr(world, "takes", 1000)  # the share of 100 % does not come
    world.at[100] = lambda: setattr(world, "never_ready", True)
    world.at[120] = lambda: setattr(world, "takes", 1)

    carry_out(world)

    assert came_back(world)
    assert "the candidate is no longer ready: 0 of 1 pods" in world.tag
    assert world.clock - START < 130


@pytest.mark.parametrize("failing", [1.0, 0.1])
@pytest.mark.parametrize("paused", [False, True])
def test_a_candidate_that_breaks_late_in_a_long_step_comes_back_soon(failing, paused):
    """All that it answered well before must not hide it."""
    world = World()
    world.at[60] = lambda: wish(world, Wish.PAUSE) if paused else None
    world.at[3000] = lambda: setattr(world, "_traffic", broken_since(world, failing))
    held = [{"percent": 25, "hold_s": 24 * 3600}, {"percent": 100}]

    carry_out(world, plan(steps=held))

    assert came_back(world)
    assert "errors of digits/2" in world.tag
    assert world.clock - START < 3000 + 140


def broken_since(world: World, failing: float):
    """Of what the candidate is asked from now on so much fails."""
    whole, counted = World._traffic, len(world.counted)

    def traffic(version, since):
        found = whole(world, version, since)
        if version == STABLE:
            return found
        errors = round(
            failing * sum(n for _, whose, n in world.counted[counted:] if whose == version)
        )
        well = tuple(count and count - errors for count in found.counts)
        return replace(found, errors=errors, counts=well)

    return traffic


def test_a_minute_in_which_a_limit_is_missed_is_borne():
    """Where the whole step keeps it: of a day's minutes some are bad by chance."""
    world = World()
    world.at[3000] = lambda: setattr(world, "_traffic", broken_since(world, 0.02))
    world.at[3050] = lambda: setattr(world, "_traffic", good_again(world))
    held = [{"percent": 25, "hold_s": 3600}, {"percent": 100}]

    carry_out(world, plan(steps=held))

    assert world.end() == PROMOTED


def good_again(world: World):
    """What has failed stays so, and nothing more does."""
    failed = world._traffic(CANDIDATE, START).errors

    def traffic(version, since):
        found = World._traffic(world, version, since)
        if version == STABLE or since > START + 3000:
            return found
        well = tuple(count and count - failed for count in found.counts)
        return replace(found, errors=failed, counts=well)

    return traffic


def test_a_candidate_that_will_never_be_ready_is_not_waited_for():
    """Its place says so."""
    world = World(fails="its image does not exist")

    carry_out(world)

    assert came_back(world)
    assert "does not become ready: its image does not exist" in world.tag
    assert world.clock - START < 30


def test_too_few_requests_are_waited_for_and_then_decided_by_the_plan():
    """Abort is the default."""
    world = World(rate=1.0)

    state, told = carry_out(world)

    assert came_back(world)
    assert state.inconclusive == 0
    assert sum("not proven" in text for text in told) >= plan().inconclusive_limit
    assert "of 400 requests" in world.tag


def test_a_pause_instead_waits_for_a_person():
    """Who may send more requests and resume, and then it goes on."""
    world = World(rate=1.0)
    world.at[1000] = lambda: setattr(world, "rate", 100.0)
    world.at[1001] = lambda: wish(world, Wish.RESUME)

    _, told = carry_out(world, plan(on_inconclusive="pause"))

    assert any(text.startswith("paused: ") for text in told)
    assert world.end() == PROMOTED


@pytest.mark.parametrize("does", [Quality(), Quality(errors=0.3)], ids=["good", "bad"])
def test_orders_that_take_long_are_given_until_they_are_through(does):
    """As when pods are replaced; what is waited for is told once."""
    quick, world = World(candidate_does=does), World(candidate_does=does, takes=5)
    carry_out(quick)

    _, told = carry_out(world)

    assert world.end() == quick.end()
    assert world.calls == quick.calls
    assert sum("waits: " in text for text in told) == len(world.calls) - 2


def test_a_share_that_never_gets_through_is_given_up():
    """The candidate's further pods do not start."""
    world = World(takes=1000)
    world.at[400] = lambda: setattr(world, "takes", 1)

    carry_out(world, plan(dark={"timeout_s": 200}))

    assert came_back(world)
    assert "not through after 200 s" in world.tag


def test_a_candidate_that_never_gets_ready_is_given_up_after_the_plan_s_time():
    """And its reason is told."""
    world = World(never_ready=True)

    carry_out(world, plan(dark={"timeout_s": 100}))

    assert came_back(world)
    assert "not ready after 100 s: 0 of 1 pods" in world.tag
    assert 100 < world.clock - START < 130


def test_failures_are_borne_as_often_as_the_plan_says():
    """A stumble is not the end."""
    world = World()
    world.at[40] = lambda: setattr(world, "candidate_does", Quality(errors=0.05))
    world.at[52] = lambda: setattr(world, "candidate_does", Quality())

    _, told = carry_out(world, plan(failure_limit=2))

    assert world.end() == PROMOTED
    assert any("failed 1 of 2 that are borne" in text for text in told)


def test_a_candidate_that_is_lost_is_launched_again():
    """Its pod was started again; the step begins anew."""
    world = World()
    world.at[50] = world.lose_the_candidate

    _, told = carry_out(world)

    assert world.end() == PROMOTED
    assert world.calls.count("launch") == 2
    assert any("gone, and is launched again" in text for text in told)


def test_a_candidate_that_is_lost_while_nobody_carries_the_rollout_out_is_launched_again():
    """The pod was started again, and the share could not be set."""
    world = World()
    world.at[40] = lambda: setattr(world, "stopping", True)
    carry_out(world)
    world.lose_the_candidate()
    world.stopping = False

    carry_out(world, holder="two")

    assert world.end() == PROMOTED


def test_a_candidate_that_is_lost_again_and_again_is_given_up():
    """Nothing is proven of it."""
    world = World()
    for second in range(50, 2000, 60):
        world.at[second] = world.lose_the_candidate

    carry_out(world)

    assert came_back(world)


@pytest.mark.parametrize("part", ["place", "meter", "ledger"])
def test_what_is_out_of_reach_for_a_while_is_waited_for(part):
    """And no share rises meanwhile."""
    world = World()
    world.at[60] = lambda: world.out_of_reach.add(part)
    shares = []
    world.at[300] = lambda: (shares.append(world.percent), world.out_of_reach.clear())

    _, told = carry_out(world)

    assert shares == [10]
    assert world.end() == PROMOTED
    assert any(f"goes on trying: the {part} does not answer" in text for text in told)


def test_what_is_out_of_reach_is_told_of_once():
    """Though its error counts the seconds."""
    world = World()
    ages = iter(range(1000))

    def silent(version, since):
        raise UnreachableError(f"nothing new since {next(ages)} s")

    world.at[60] = lambda: setattr(world, "traffic", silent)
    world.at[300] = lambda: delattr(world, "traffic")

    _, told = carry_out(world)

    assert world.end() == PROMOTED
    assert sum("nothing new since" in text for text in told) == 1
    assert sum("in sight again after" in text for text in told) == 1


def test_metrics_that_stay_away_are_no_reason_to_keep_the_candidate():
    """All requests go back after the plan's time."""
    world = World()
    world.at[60] = lambda: world.out_of_reach.add("meter")

    carry_out(world, plan(blind_timeout_s=200))

    assert came_back(world)
    assert "out of sight" in world.tag
    assert world.clock - START < 300


def test_a_registry_that_is_away_at_the_end_is_waited_for():
    """The pods serve the candidate already."""
    world = World()
    world.out_of_reach.add("registry")
    world.at[1000] = world.out_of_reach.clear

    carry_out(world)

    assert world.end() == PROMOTED
    assert world.clock - START >= 1000


@pytest.mark.parametrize("what", ["launch", "share", "readiness", "traffic"])
def test_what_is_refused_before_it_is_decided_ends_the_rollout(what):
    """Trying again would be no use."""
    world = World(refuses={what})

    state, _ = carry_out(world)

    assert state.outcome is Outcome.ABORTED
    assert came_back(world)
    assert f"{what} is refused" in world.tag


def test_what_is_refused_at_the_end_is_told_and_can_be_gone_on_with():
    """The state is kept; when it is allowed, the same command ends it."""
    world = World(refuses={"promote"})

    with pytest.raises(RolloutError, match="promote is refused"):
        carry_out(world)
    assert read_state(world.kept.state).phase is Phase.PROMOTING
    world.refuses.clear()
    carry_out(world, holder="two")

    assert world.end() == PROMOTED


def test_a_promotion_that_is_refused_can_be_aborted():
    """Nothing has been changed by it."""
    world = World(refuses={"promote"})
    with pytest.raises(RolloutError, match="promote is refused"):
        carry_out(world)

    wish(world, Wish.ABORT)
    carry_out(world, candidate=None, holder="two")

    assert came_back(world)


def test_a_promotion_that_does_not_get_through_can_be_aborted():
    """There is no room for its pods, and they would be waited for without end."""
    world = World()
    world.at[140] = lambda: setattr(world, "takes", 1000)
    world.at[1000] = lambda: wish(world, Wish.ABORT)
    world.at[1050] = lambda: setattr(world, "takes", 1)

    _, told = carry_out(world)

    assert any(text.startswith("promoting: waits: ") for text in told)
    assert came_back(world)
    assert "promote" not in world.calls
    assert world.clock - START >= 1000


def stuck(world: World):
    """The stable version's pods cannot be replaced, and the candidate has all requests."""

    def promote(candidate):
        raise UnfinishedError("0 of 2 pods are ready")

    world.promote = promote


def test_a_candidate_that_fails_while_its_promotion_waits_comes_back():
    """It has more requests than ever."""
    world = World()
    stuck(world)
    world.at[200] = lambda: setattr(world, "candidate_does", Quality(errors=0.5))

    carry_out(world)

    assert came_back(world)
    assert "errors of digits/2" in world.tag
    assert world.clock - START < 300


def test_a_promotion_that_does_not_come_further_is_given_up():
    """There is no room, and nobody looks for days."""
    world = World()
    stuck(world)

    carry_out(world)

    assert came_back(world)
    assert "the promotion has not come further for 600 s: 0 of 2 pods are ready" in world.tag


@pytest.mark.parametrize("through", [False, True])
def test_an_abort_while_a_promotion_s_answer_is_lost_is_obeyed_if_it_can_be(through):
    """What the place serves says whether the promotion came through."""
    world = World()
    promote = world.promote

    def lost(candidate):
        if through:
            promote(candidate)
        wish(world, Wish.ABORT)
        world.promote = promote
        raise UnreachableError("the connection was lost")

    world.promote = lost

    _, told = carry_out(world)

    if through:
        assert world.end() == PROMOTED
        assert any(text.startswith("not aborted: it is decided already") for text in told)
    else:
        assert came_back(world)


def test_an_abort_of_a_promotion_is_kept_while_the_place_is_out_of_reach():
    """And obeyed before the promotion is tried again to its end."""
    world = World()
    world.at[140] = lambda: world.out_of_reach.add("place")
    world.at[300] = lambda: wish(world, Wish.ABORT)
    world.at[400] = lambda: (world.out_of_reach.clear(), setattr(world, "takes", 3))

    carry_out(world)

    assert came_back(world)
    assert "promote" not in world.calls


def test_a_withdrawal_that_is_refused_is_tried_until_it_is_allowed():
    """Nobody else would take the candidate's requests from it."""
    world = World(candidate_does=Quality(errors=0.5), refuses={"withdraw"})
    world.at[300] = world.refuses.clear

    _, told = carry_out(world)

    assert came_back(world)
    assert world.clock - START >= 300
    said = "aborting: is refused, goes on trying: withdraw is refused"
    assert told.count(said) == 1


@pytest.mark.parametrize("call", ["read", "write"])
def test_a_ledger_that_refuses_for_a_while_is_no_end(call):
    """The candidate has a share: whoever left now would leave it there."""
    world = World()
    world.at[40] = lambda: world.refuses.add(call)
    world.at[100] = world.refuses.clear

    _, told = carry_out(world)

    assert world.end() == PROMOTED
    assert any(f"goes on trying: {call} is refused" in text for text in told)


def test_what_nobody_has_reckoned_with_sends_all_requests_back(caplog):
    """A fault of ours or of a library's must not leave the candidate its share."""
    world = World()

    def broken(version, since):
        raise ValueError("no number")

    world.traffic = broken

    carry_out(world)

    assert came_back(world)
    assert world.tag == "aborted: ValueError: no number"
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("second", [5, 17, 40, 90])
def test_an_abort_that_is_asked_for_is_obeyed_at_once(second):
    """In every phase, and before the next look would be due."""
    world = World()
    asked = []
    world.at[second] = lambda: (asked.append(world.clock), wish(world, Wish.ABORT))

    carry_out(world, plan(interval_s=30))

    assert came_back(world)
    assert world.tag == "aborted: it was asked for"
    assert world.clock - asked[0] <= 3


def test_an_abort_that_was_asked_for_is_not_forgotten_for_another_wish():
    """Whoever asks for less a moment later."""
    world = World()
    world.at[40] = lambda: (wish(world, Wish.ABORT), wish(world, Wish.PAUSE))

    carry_out(world)

    assert came_back(world)


def test_a_promotion_that_is_asked_for_skips_the_rest():
    """Of a candidate that is ready."""
    world = World()
    world.at[30] = lambda: wish(world, Wish.PROMOTE)

    carry_out(world)

    assert world.end() == PROMOTED
    assert world.ever == [0, 10]


def test_a_promotion_that_is_asked_for_of_what_is_not_ready_is_not_had():
    """It is said, and the rollout goes on as it was."""
    world = World()
    world.at[5] = lambda: wish(world, Wish.PROMOTE)

    _, told = carry_out(world)

    assert "not promoted though it was asked for: the candidate is not ready" in told
    assert world.ever == [0, 10, 100]


def test_a_paused_rollout_stays_where_it_is_and_still_comes_back_when_it_fails():
    """Pausing must not keep a bad candidate in traffic."""
    world = World()
    world.at[30] = lambda: wish(world, Wish.PAUSE)
    shares = []
    world.at[500] = lambda: shares.append(world.percent)
    world.at[501] = lambda: setattr(world, "candidate_does", Quality(errors=0.9))

    carry_out(world)

    assert shares == [10]
    assert came_back(world)


def test_two_at_once_are_refused():
    """With whose it is and since when."""
    world = World()

    def second():
        with pytest.raises(
            BusyError, match="models:/digits/2 is being rolled out by one since 2027"
        ):
            carry_out(world, holder="two")
        other = Version("digits", "3", "models:/digits/3")
        with pytest.raises(BusyError, match="by one"):
            carry_out(world, candidate=other, holder="two")

    world.at[40] = second

    carry_out(world)

    assert world.end() == PROMOTED


def test_whoever_was_taken_over_leaves_without_another_order():
    """A holder that slept through its lease."""
    world = World()

    def take_over():
        state = read_state(world.kept.state).but(holder="two")
        world.write(state.text(), world.kept.revision)
        world.calls.append("taken over")

    world.at[40] = take_over

    with pytest.raises(BusyError, match="two has taken the rollout over"):
        carry_out(world)

    assert world.calls[-1] == "taken over"


def test_a_rollout_that_was_told_to_stop_is_left_and_gone_on_with():
    """Without waiting for the lease to end."""
    world = World()
    world.at[40] = lambda: setattr(world, "stopping", True)

    left, told = carry_out(world)
    assert left.phase is Phase.STEP
    assert told[-1] == "left in step 1 of 2: 10 %; start it again to go on"
    world.stopping = False
    carry_out(world, holder="two")

    assert world.end() == PROMOTED


LETTERS = Version("letters", CANDIDATE, f"models:/letters/{CANDIDATE}")


@pytest.mark.parametrize("other", [Version("digits", "3", "models:/digits/3"), LETTERS])
def test_what_was_left_keeps_its_place_from_another_candidate(other):
    """Which must not be mixed up with it, though it has the same number in another model."""
    world = World()
    world.at[40] = lambda: setattr(world, "stopping", True)
    carry_out(world)

    with pytest.raises(BusyError, match="was left in step 1 of 2: 10 %"):
        carry_out(world, candidate=other, holder="two")


def test_what_ended_for_one_model_has_not_ended_for_another_of_the_same_number():
    """All of them count from one."""
    world = World(candidate_does=Quality(errors=0.5))
    carry_out(world, run="run-1")
    world.candidate_does, world.launched_at = Quality(), None

    state, _ = carry_out(world, candidate=LETTERS, holder="two", run="run-1")

    assert (state.candidate.name, state.outcome) == ("letters", Outcome.PROMOTED)


def test_there_must_be_something_to_roll_out():
    """Neither nothing nor what is served already."""
    with pytest.raises(NotFoundError, match="name the version"):
        carry_out(World(), candidate=None)
    with pytest.raises(RolloutError, match="serves already"):
        carry_out(World(), candidate=Version("digits", STABLE, "models:/digits/1"))
    with pytest.raises(NotFoundError, match="nothing to abort"):
        wish(World(), Wish.ABORT)


@pytest.mark.parametrize("does", [Quality(), Quality(errors=0.3)], ids=["good", "bad"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_rollout_killed_at_any_call_ends_as_if_it_had_not_been(does, before):
    """Just before or just after the call took effect."""
    whole = World(candidate_does=does)
    carry_out(whole)
    for at in range(1, whole.number + 1):
        world = World(candidate_does=does, kill_at=at, kill_before=before)
        with pytest.raises(KilledError):
            carry_out(world)
        world.wait(LEASE_S)
        state, _ = carry_out(world, holder="two")

        if state.outcome is None:  # killed after its very last word
            assert state.done
        assert world.end() == whole.end(), f"killed at call {at}"
        rising = world.ever if world.ever[-1] else world.ever[:-1]
        assert rising == sorted(rising)


def test_the_lease_is_renewed_while_work_takes_long_and_a_wish_ends_the_waiting(monkeypatch):
    """Five hundred images of a slow candidate; nobody waits for them when it is to be aborted."""
    monkeypatch.setattr(run, "LOOK_S", 0.01)
    world, let_go, renewals = World(), threading.Event(), []
    world.golden = lambda route: let_go.wait(60)

    def write(state, revision):
        if read_state(state).wish is not None or world.calls != ["launch"]:
            return World.write(world, state, revision)
        world.clock += RENEW_S  # so much time passes while the images are asked about
        renewals.append(read_state(state).renewed_at)
        kept = World.write(world, state, revision)
        if len(renewals) == 20:
            wish(world, Wish.ABORT)
        return kept

    world.write = write
    try:
        carry_out(world, plan(dark={"golden": {"dataset": "test", "at_least": 0.9}}))
    finally:
        let_go.set()

    assert came_back(world)
    assert len(renewals) >= 20
    assert renewals == sorted(renewals)


def test_an_order_is_waited_for_however_long_it_takes(monkeypatch):
    """Requests might go somewhere else than the state says."""
    monkeypatch.setattr(run, "LOOK_S", 0.01)
    world, begun, let_go = World(), threading.Event(), threading.Event()
    share = world.share

    def slow(candidate, percent):
        begun.set()
        assert let_go.wait(60)
        share(candidate, percent)

    world.share = slow
    read = world.read

    def wishing():
        if begun.is_set() and not let_go.is_set():
            wish_of(world)
            let_go.set()
        return read()

    def wish_of(world):
        state = read_state(world.kept.state).but(wish=Wish.ABORT)
        World.write(world, state.text(), world.kept.revision)

    world.read = wishing

    carry_out(world)

    assert world.calls == ["launch", "share 10", "withdraw", "aborted"]


@pytest.mark.parametrize(
    ("failing", "outcomes", "promoted"),
    [
        (0.002, {"promoted"}, 30),  # a fifth of the limit
        (0.005, {"promoted", "aborted"}, 22),  # half of it: not always proven
        (0.0101, {"aborted"}, 0),  # just above it
        (0.03, {"aborted"}, 0),
    ],
)
def test_how_often_chance_decides(failing, outcomes, promoted):
    """By the plan that has no file, at 200 requests per second: docs/rollout.md has the figures."""
    ends = []
    for seed in range(30):
        world = Drawn(rate=200.0, candidate_does=Quality(errors=failing), seed=seed)
        ends.append(carry_out(world, Plan())[0].outcome)

    assert ends.count(Outcome.PROMOTED) == promoted
    assert set(ends) == {Outcome(each) for each in outcomes}


@dataclass
class Drawn(World):
    """Requests fail by chance, and what has failed stays so."""

    seed: int = 0

    def __post_init__(self) -> None:
        """Nothing drawn yet."""
        super().__post_init__()
        self._random = np.random.default_rng(self.seed)
        self._drawn = {}

    def _traffic(self, version, since):
        found = super()._traffic(version, since)
        if version == STABLE:
            return found
        requests, errors = self._drawn.get(since, (0, 0))
        more = found.requests - requests
        errors += int(self._random.binomial(more, self.candidate_does.errors))
        self._drawn[since] = found.requests, errors
        counts = tuple(found.requests - errors if count else 0 for count in found.counts)
        return replace(found, errors=errors, counts=counts)


@pytest.mark.parametrize("does", [Quality(), Quality(errors=0.5)], ids=["good", "bad"])
def test_what_ended_for_a_run_is_not_begun_anew_for_it(does):
    """Its step is tried again when it died after the rollout's end."""
    world = World(candidate_does=does)
    first, _ = carry_out(world, run="run-1")
    calls = list(world.calls)

    again, told = carry_out(world, holder="two", run="run-1")

    assert again == first
    assert world.calls == calls
    assert told == [first.events[-1].text]


@pytest.mark.parametrize("run", ["", "run-2"])
def test_what_was_aborted_may_be_tried_once_more_by_whoever_wants_it_anew(run):
    """A person, or another run."""
    world = World(candidate_does=Quality(errors=0.5))
    carry_out(world, run="run-1")
    world.candidate_does = Quality()

    carry_out(world, holder="two", run=run)

    assert world.served == CANDIDATE


def test_a_rollout_keeps_its_run_when_another_one_goes_on_with_it():
    """So a try of that run finds how it ended."""
    world = World(candidate_does=Quality(errors=0.5))
    world.at[5] = lambda: setattr(world, "stopping", True)
    carry_out(world, run="run-1")
    world.stopping = False
    by_hand, _ = carry_out(world, holder="two")

    again, _ = carry_out(world, holder="three", run="run-1")

    assert by_hand.outcome is Outcome.ABORTED
    assert again == by_hand


def test_a_rollout_that_only_has_to_be_recorded_is_in_nobody_s_way():
    """It was killed before the registry was told; the next version finishes it and begins."""
    world = World(candidate_does=Quality(errors=0.5))
    world.out_of_reach.add("registry")
    world.at[100] = lambda: setattr(world, "stopping", True)
    state, _ = carry_out(world)
    assert state.phase is Phase.RECORDING
    world.out_of_reach.clear()
    world.stopping = False
    third = Version("digits", "3", "models:/digits/3")

    state, told = carry_out(world, candidate=third, holder="two")

    assert world.tag.startswith("aborted: ")
    assert state.candidate.version == "3"
    assert told.index("models:/digits/3 is to replace version 1") > 0


def test_a_candidate_is_not_begun_where_another_version_is_served_than_it_was_compared_with():
    """It may be worse than that one."""
    world = World()

    with pytest.raises(RolloutError, match="compared with version 7, but a world in memory serves"):
        carry_out(world, against="7")

    assert world.kept is None
    assert carry_out(world, against=STABLE)[0].outcome is Outcome.PROMOTED


def test_the_state_says_in_which_registry_the_versions_are():
    """So an abort finds it."""
    state, _ = carry_out(World())

    assert state.registry == World.address
