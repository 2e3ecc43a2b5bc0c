"""Taking a candidate back of whose rollout no state is left, in a world of memory."""

from __future__ import annotations

import pytest

from rollout.errors import NotFoundError, RolloutError
from rollout.left import take_back
from tests.rollout.test_run import carry_out
from tests.rollout.world import VERSION, World


def left(**so) -> World:
    """In a step, and its state deleted."""
    world = World()
    world.at[40] = lambda: setattr(world, "kept", None)
    with pytest.raises(NotFoundError, match="was deleted: it is left as it stands"):
        carry_out(world)
    assert world.percent == 10
    for name, value in so.items():
        setattr(world, name, value)
    return world


def test_it_is_tried_until_it_is_through():
    """What is waited for is told once; the registry is told nothing."""
    world, told = left(takes=4, out_of_reach={"place"}), []
    world.at[100] = world.out_of_reach.clear

    take_back(world, VERSION, world, told.append)

    assert world.percent == 0
    assert world.calls[-1] == "withdraw"
    assert told.count("the place does not answer") == 1


def test_who_is_told_to_stop_says_what_is_left():
    """And may be asked again."""
    world = left(out_of_reach={"place"})
    world.at[100] = lambda: setattr(world, "stopping", True)

    with pytest.raises(RolloutError, match=r"not taken back yet: the place does not .*; do it"):
        take_back(world, VERSION, world, lambda _: None)


def test_what_is_refused_is_told_at_once():
    """Trying again would be no use."""
    with pytest.raises(RolloutError, match="withdraw is refused"):
        take_back(left(refuses={"withdraw"}), VERSION, World(), lambda _: None)
