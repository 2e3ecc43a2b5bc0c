"""Who carries a rollout out, and when somebody else may."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from rollout.lease import LEASE_S, held, holder_name, this_process
from rollout.plan import Plan
from rollout.state import begin
from rollout.transitions import take_over
from tests.rollout.world import STABLE, START, VERSION


def state_of(process: str):
    """Held since the start."""
    state = take_over(begin(VERSION, STABLE, Plan(), START), "one", START)
    return state.but(process=process)


def test_a_holder_that_does_not_renew_has_died():
    """Wherever it was."""
    state = state_of("another machine's mark")

    assert held(state, START + LEASE_S - 1)
    assert not held(state, START + LEASE_S)


def test_a_holder_on_this_machine_is_known_to_have_died_at_once():
    """Its process is gone."""
    program = "from rollout.lease import this_process; print(this_process())"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert len(ran.stdout.split()) == 4
    assert not held(state_of(ran.stdout.strip()), START)


def test_a_holder_that_lives_is_not_taken_for_dead():
    """As this very process; and one whose number is used again is another one."""
    boot, space, number, began = this_process().split()

    assert held(state_of(this_process()), START)
    assert int(number) == os.getpid()
    assert not held(state_of(f"{boot} {space} {number} {int(began) - 1}"), START)


@pytest.mark.parametrize("what", ["boot", "space"])
def test_nothing_is_known_of_processes_elsewhere(what):
    """Another machine, or another container of this one with numbers of its own."""
    boot, space, _, _ = this_process().split()
    mark = f"other {space} 999999999 1" if what == "boot" else f"{boot} 1 999999999 1"

    assert held(state_of(mark), START)


def test_no_two_holders_have_one_name():
    """Not even in one process."""
    assert holder_name() != holder_name()
