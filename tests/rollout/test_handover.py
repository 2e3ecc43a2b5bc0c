"""Waiting for a holder that may have died, in a world of memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.clock import WallTime
from rollout.errors import BusyError, UnreachableError
from rollout.handover import LONGEST_S, await_free
from rollout.lease import LEASE_S, wish
from rollout.run import roll_out
from rollout.state import Outcome, Phase, Wish, read_state
from tests.rollout.world import START, VERSION, KilledError, World, plan


def carry_out(world: World, candidate=VERSION, holder="two"):
    """To its end."""
    return roll_out(world.parts, candidate, plan(), holder=holder, clock=world, tell=lambda _: None)


def killed() -> World:
    """One whose holder has died in a step, on a machine of which nothing is known."""
    world = World(kill_at=60)
    with pytest.raises(KilledError):
        carry_out(world, holder="one")
    state = read_state(world.kept.state)
    assert (state.phase, state.holder) == (Phase.STEP, "one")
    world.kept = replace(world.kept, state=state.but(process="elsewhere").text())
    return world


def test_what_a_killed_step_left_is_gone_on_with_when_its_lease_has_ended():
    """The next try comes seconds later, and would be refused."""
    world = killed()
    since = world.now()
    with pytest.raises(BusyError):
        carry_out(world)

    free = await_free(world, world, VERSION)
    state = carry_out(world)

    assert free.holder == "one"
    assert world.now() - since >= LEASE_S - 15
    assert state.outcome is Outcome.PROMOTED


def test_an_abort_is_carried_out_for_whoever_was_killed():
    """Otherwise the candidate would keep its share, and nobody would judge it."""
    world = killed()
    assert world.percent == 10
    wish(world, Wish.ABORT)

    await_free(world, world)
    carry_out(world, candidate=None)

    assert world.percent == 0
    assert world.tag == "aborted: it was asked for"


def test_a_holder_that_lives_is_not_waited_for_for_ever():
    """It may roll out for days."""
    world = killed()

    def renewed() -> None:
        state = read_state(world.kept.state).but(renewed_at=world.now())
        world.kept = replace(world.kept, state=state.text())
        world.at[world.now() - START + 10] = renewed

    since = world.now()
    renewed()
    state = await_free(world, world, VERSION)

    assert state.holder == "one"
    assert LONGEST_S <= world.now() - since <= LONGEST_S + 2


def test_the_rollout_of_another_version_is_not_waited_for():
    """Who asks for that is refused in any case."""
    world = killed()
    since = world.now()

    await_free(world, world, replace(VERSION, version="3"))

    assert world.now() == since


def test_a_ledger_that_is_out_of_reach_for_a_moment_is_asked_again():
    """And one that stays so is told of."""
    world = killed()
    world.out_of_reach.add("ledger")
    world.at[world.now() - START + 20] = world.out_of_reach.clear
    assert await_free(world, world).holder == "one"

    world.out_of_reach.add("ledger")
    with pytest.raises(UnreachableError):
        await_free(world, world)


def test_nothing_is_waited_for_where_there_has_been_no_rollout():
    """There is no state."""
    assert await_free(World(), World()) is None


def test_a_clock_may_stop_by_itself():
    """So that nobody waits for ever for a place that does not answer."""
    clock = WallTime(longest_s=0.01)

    assert clock.wait(60)
    assert clock.wait(0)


def test_a_rollout_that_is_to_end_by_a_time_is_left_as_it_stands():
    """Here in aborting, while the place is out of reach; another one goes on."""
    world = killed()
    wish(world, Wish.ABORT)
    await_free(world, world)
    world.out_of_reach.add("place")

    class Soon:
        """World's time, for 100 s."""

        def now(self) -> float:
            return world.now()

        def wait(self, seconds: float) -> bool:
            return world.wait(seconds) or world.now() > until

    until = world.now() + 100
    state = roll_out(world.parts, None, plan(), holder="two", clock=Soon(), tell=lambda _: None)

    assert not state.done
    assert (state.phase, state.holder) == (Phase.ABORTING, "")
