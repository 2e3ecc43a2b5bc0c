"""Whole rollouts on a cluster, by the loop that carries them out, in each of KServe's modes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.errors import BusyError
from rollout.run import roll_out
from rollout.state import Outcome, Phase
from tests.kubernetes.workloads import Fate
from tests.rollout.kserve.customers import PLAN, Customers
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE, STORAGE, public_route
from tests.rollout.kserve.rig import MODES, KilledError, Mortal, rigged
from tests.rollout.world import Quality


def run(customers, client=None, holder="one"):
    """The last state, and what was told."""
    told = []
    state = roll_out(
        customers.parts(customers.rig.place(client)),
        CANDIDATE,
        PLAN,
        holder=holder,
        clock=customers,
        tell=lambda event: told.append(event.text),
    )
    customers.rig.controller.settle()
    return state, told


def test_a_good_candidate_is_promoted(rig):
    """Step by step, with no request lost on the way."""
    customers = Customers(rig)

    state, told = run(customers)

    assert state.outcome is Outcome.PROMOTED, told
    assert customers.recorded == ["promoted 4"]
    assert rig.shares() == {"4": 100}
    assert {0, 10, 100} == set(customers.ever)
    assert customers.ever == sorted(customers.ever)
    assert customers.lost == 0


def test_a_slow_one_goes_back_within_one_reconcile(rig):
    """It never gets more than the first step's share."""
    customers = Customers(rig, candidate_does=Quality(latency_s=0.1))

    state, told = run(customers)

    assert state.outcome is Outcome.ABORTED, told
    assert "p99" in state.why
    assert customers.recorded == [f"aborted 4: {state.why}"]
    assert rig.shares() == {"3": 100}
    assert max(customers.ever) == 10
    assert customers.lost == 0
    assert rig.service()["spec"]["predictor"]["model"]["storageUri"] == f"{STORAGE}/3"


def test_one_that_never_starts_gets_nothing(rig):
    """And is taken away."""
    rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.CRASHING)
    customers = Customers(rig)

    state, told = run(customers)

    assert state.outcome is Outcome.ABORTED, told
    assert "does not become ready" in state.why
    assert set(customers.ever) == {0}
    assert customers.lost == 0
    assert rig.pods("4") == 0


def test_killed_and_gone_on_with_by_another_it_ends_the_same(rig):
    """After every so many requests to the cluster, over and over."""
    customers = Customers(rig)
    for number in range(200):
        client = Mortal(rig.client, 25 + number)
        customers.clock += 61  # the lease of the one that was killed is over
        try:
            state, _ = run(customers, client, holder=f"process {number}")
        except KilledError:
            continue
        break

    assert number > 1
    assert state.outcome is Outcome.PROMOTED
    assert rig.shares() == {"4": 100}
    assert customers.recorded[-1] == "promoted 4"
    assert customers.lost == 0


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_the_candidate_that_is_taken_away_by_somebody_is_started_again(clients, mode):
    """In the middle of a step, and slowly; requests go to the stable version meanwhile."""
    with rigged(MODES[mode], clients) as rig:
        customers = Customers(rig)
        set_fate = rig.controller.workloads.set_fate

        def take_away():
            set_fate(f"{STORAGE}/4", Fate.WAITING)
            if mode == "pair":
                rig.cluster.delete("InferenceService", f"{NAME}-candidate", NAMESPACE)
            else:
                rig.cluster.patch("InferenceService", NAME, {"spec": {"canary": None}}, NAMESPACE)

        customers.at[40] = take_away
        customers.at[400] = lambda: set_fate(f"{STORAGE}/4", Fate.READY)
        state, told = run(customers)

        assert state.outcome is Outcome.PROMOTED, told
        assert any("gone" in each for each in told)
        assert customers.lost <= PLAN.interval_s * 100 * 0.1  # until it is looked


def test_pods_that_die_in_a_step_end_it(rig):
    """Nobody counts what is asked of them, so that nothing of it is ever judged."""
    customers = Customers(rig)
    died = []

    def die():
        died.append(customers.clock)
        rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.CRASHING)

    customers.at[30] = die
    state, told = run(customers)

    assert state.outcome is Outcome.ABORTED, told
    assert "exited with 1 no such model" in state.why
    assert customers.clock - died[0] <= 3 * PLAN.interval_s
    assert rig.shares() == {"3": 100}


def test_a_pod_that_starts_again_in_a_step_ends_it(rig):
    """It is ready with the next look; the requests that it had are lost, and what it counted."""
    customers = Customers(rig)

    def run_out_of_memory():
        (name,) = (
            pod["metadata"]["name"]
            for pod in rig.cluster.list("Pod", NAMESPACE)
            if f"{STORAGE}/4" in pod["metadata"]["annotations"].values()
        )
        rig.controller.workloads.restart(name)

    customers.at[30] = run_out_of_memory
    state, told = run(customers)

    assert state.outcome is Outcome.ABORTED, told
    assert "has started again: exited with 137 OOMKilled" in state.why
    assert rig.shares() == {"3": 100}


def test_a_share_that_does_not_come_true_is_never_judged(clients):
    """A route is weighed, and customers come by KServe 0.20.0's own, which sends all to 3."""
    mode = replace(MODES["canary"], own_route=False)
    with rigged(mode, clients) as rig:
        rig.cluster.create(public_route())
        customers = Customers(rig)

        state, told = run(customers)

        assert state.outcome is Outcome.ABORTED, told
        assert "share" in state.why
        assert set(customers.ever) == {0}
        assert rig.shares() == {"3": 100}


def test_two_at_once_are_refused(rig):
    """The second is told whose it is."""
    customers = Customers(rig)
    first = ["process of the first"]
    customers.at[20] = lambda: setattr(customers, "stopping", True)
    run(customers, holder=first[0])
    customers.stopping = False

    def another():
        with pytest.raises(BusyError, match=first[0]):
            run(Customers(rig, clock=customers.clock), holder="another")

    customers.at[40] = another
    state, _ = run(customers, holder=first[0])

    assert state.phase is Phase.DONE
    assert another not in customers.at.values()
