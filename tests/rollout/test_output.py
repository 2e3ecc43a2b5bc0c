"""What people see of a rollout while it goes on."""

from __future__ import annotations

import pytest

from millrace.rollout_output import print_status, progress, status_row
from rollout.lease import LEASE_S
from rollout.run import roll_out
from rollout.state import Phase, read_state
from tests.rollout.world import START, VERSION, World, plan


@pytest.fixture(scope="module")
def states():
    """Those that a whole rollout shows, one a look, with the times."""
    world, shown = World(), []
    roll_out(
        world.parts, VERSION, plan(), holder="one", clock=world, tell=lambda _: None,
        watch=lambda state: shown.append((state, world.now())),
    )  # fmt: skip
    return shown


def test_every_look_shows_where_it_is_and_what_it_has_seen(states):
    """For how long it has been held, and the share that the candidate gets."""
    lines = [progress(*each) for each in states]

    assert "dark, 10 s" in lines
    assert any(
        line.startswith("step 1 of 2: 10 %, 20 of 60 s; share of digits/2: 10 % (200 of 2,000)")
        for line in lines
    )
    assert lines[-1].startswith("done")


def test_what_is_in_the_way_is_shown_instead(states):
    """Until it is gone."""
    state, now = states[5]

    assert progress(state.but(trouble="no answer"), now).endswith(": no answer")


def test_the_status_is_that_of_the_state_and_says_whether_it_is_held(states):
    """The row for scripts is JSON but for the plan."""
    state, now = next(each for each in states if each[0].phase is Phase.STEP)

    row = status_row("digits", state, now)

    assert (row["name"], row["held"], row["share_set"]) == ("digits", True, 10)
    assert status_row("digits", state, now + LEASE_S)["held"] is False
    assert "plan" not in row


def test_a_promoted_version_that_is_rolled_out_again_says_so_and_does_nothing():
    """Whoever ran it before was killed after its last word."""
    world, told = World(), []
    for _ in range(2):
        calls = len(world.calls)
        state = roll_out(world.parts, VERSION, plan(), holder="one", clock=world, tell=told.append)

    assert len(world.calls) == calls
    assert [event.text for event in told[-2:]] == ["promoted", "promoted"]
    assert state == read_state(world.kept.state)


def test_the_status_for_people_has_all_that_is_known(states, capsys):
    """On lines that can be searched."""
    state, now = states[-1]

    print_status("digits", state, now)

    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "digits: models:/digits/2, in place of version 1",
        "phase     promoted",
        "share     100 % set",
    ]
    assert any(line.startswith("verdict   share of digits/2") for line in lines)
    assert now > START
