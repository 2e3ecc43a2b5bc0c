"""A rollout in each of KServe's modes, on its controller: dark, shares, promoted, withdrawn."""

from __future__ import annotations

import pytest

from rollout.errors import RolloutError
from rollout.types import Standing, Version
from tests.kubernetes.workloads import Fate
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE, STABLE, STORAGE


def test_the_place_says_what_it_is(rig):
    """And which version is served, before a rollout and in it."""
    place = rig.place()

    assert place.title.startswith(f"InferenceService {NAMESPACE}/{NAME} (")
    assert rig.mode.title in place.title
    assert place.stable() == STABLE.version
    assert place.readiness(CANDIDATE).standing is Standing.ABSENT
    rig.launched()
    rig.shared(50)
    assert rig.place().stable() == STABLE.version


def test_a_candidate_is_launched_without_a_request(rig):
    """Its pods are ready, beside as many of the stable version as there were."""
    rig.launched()

    assert rig.shares() == {"3": 100}
    assert rig.pods("4") >= 1
    assert rig.pods("3") >= 1 if "Knative" in rig.mode.title else rig.pods("3") == 2


def test_it_gets_the_share_that_is_said(rig):
    """No more, no less, and nothing is lost."""
    rig.launched()

    for percent in (5, 50, 100):
        rig.shared(percent)
        wanted = {"3": 100 - percent, "4": percent}
        assert rig.shares() == {version: share for version, share in wanted.items() if share}


def test_it_is_promoted_and_nothing_is_left_of_the_rollout(rig):
    """It is the stable version then, by as many pods; the next one may come."""
    rig.launched()
    rig.shared(100)

    rig.carry_out(lambda place: place.promote(CANDIDATE))

    assert rig.shares() == {"4": 100}
    assert rig.place().stable() == "4"
    predictor = rig.service()["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == f"{STORAGE}/4"
    assert (predictor["minReplicas"], predictor.get("canaryTrafficPercent")) == (2, None)
    assert rig.service()["spec"].get("canary") is None
    assert [thing for thing in rig.end()["others"] if thing.startswith("ConfigMap")] == []
    assert [
        each["metadata"]["name"] for each in rig.cluster.list("InferenceService", NAMESPACE)
    ] == [NAME]
    rig.launched(Version(NAME, "5", f"models:/{NAME}/5"))
    assert rig.shares() == {"4": 100}


@pytest.mark.parametrize("percent", [None, 0, 5, 50, 100])
def test_it_is_withdrawn_from_wherever_it_was(rig, percent):
    """The stable version is what it was, by its own pods, and gets everything."""
    before = rig.end()
    rig.carry_out(lambda place: place.launch(CANDIDATE))
    if percent is not None:
        rig.launched()
        rig.shared(percent)

    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.shares() == {"3": 100}
    assert rig.place().stable() == "3"
    after = rig.end()
    assert after["spec"] == before["spec"]
    assert after["others"] == before["others"]
    assert rig.place().readiness(CANDIDATE).standing is Standing.ABSENT
    rig.launched()


def test_requests_are_back_within_one_reconcile(rig):
    """Whatever the rest takes: no request goes to the candidate after its first answer."""
    rig.launched()
    rig.shared(50)
    try:
        rig.place().withdraw(CANDIDATE)
    except RolloutError as error:
        assert "version 3 gets all requests" in str(error)  # noqa: PT017
    rig.controller.settle()

    assert rig.shares() == {"3": 100}


@pytest.mark.parametrize("fate", [Fate.CRASHING, Fate.TIMED_OUT])
def test_a_candidate_that_will_not_come_is_said_with_the_reason(rig, fate):
    """And goes again without a trace; the stable version noticed nothing."""
    before = rig.end()
    rig.controller.workloads.set_fate(f"{STORAGE}/4", fate)
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    found = rig.place().readiness(CANDIDATE)

    assert found.standing is Standing.FAILED
    assert found.reason
    assert rig.shares() == {"3": 100}
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))
    assert rig.end()["spec"] == before["spec"]
    assert rig.shares() == {"3": 100}


def test_a_candidate_that_takes_its_time_is_waited_for(rig):
    """It has no request until it is there."""
    rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.WAITING)
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    assert rig.place().readiness(CANDIDATE).standing is Standing.STARTING
    assert rig.shares() == {"3": 100}

    rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.READY)
    rig.controller.settle()
    rig.launched()


def test_what_is_served_already_is_no_candidate(rig):
    """It would replace itself."""
    with pytest.raises(RolloutError, match="serves already"):
        rig.place().launch(STABLE)


def test_an_order_that_is_given_again_changes_nothing(rig):
    """As a rollout does that was killed after it."""

    def revision():
        rig.controller.settle()
        return rig.service()["metadata"]["generation"]

    rig.launched()
    first = revision()
    rig.launched()
    assert revision() == first
    rig.shared(50)
    first = revision()
    rig.shared(50)
    assert revision() == first
    rig.shared(100)
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    first = revision()
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    assert revision() == first
    assert rig.shares() == {"4": 100}


def test_a_rollout_that_somebody_left_is_ended_first(rig):
    """Another candidate is launched while the old one still has a share."""
    rig.launched()
    rig.shared(50)
    newer = Version(NAME, "5", f"models:/{NAME}/5")

    rig.launched(newer)

    assert rig.shares() == {"3": 100}
    assert rig.place().stable() == "3"
    rig.carry_out(lambda place: place.withdraw(newer))
    assert rig.service()["spec"]["predictor"]["model"]["storageUri"] == f"{STORAGE}/3"


@pytest.mark.parametrize("end", ["withdraw", "promote"])
def test_what_was_changed_by_somebody_else_meanwhile_stays(rig, end):
    """More memory, say, or a variable: that is no business of a rollout's."""
    rig.launched()
    rig.shared(10)
    model = rig.service()["spec"]["predictor"]["model"]
    changed = {
        "env": [*model["env"], {"name": "MILLRACE_HOTFIX", "value": "1"}],
        "args": ["--frontends=3"],
        "resources": {"limits": {"cpu": "16", "memory": "16Gi"}},
    }
    patch = {"spec": {"predictor": {"timeout": 55, "model": changed}}}
    rig.cluster.patch("InferenceService", NAME, patch, NAMESPACE)
    for _ in range(3):
        rig.controller.settle()

    rig.carry_out(lambda place: getattr(place, end)(CANDIDATE))

    predictor = rig.service()["spec"]["predictor"]
    assert predictor["timeout"] == 55
    assert {key: predictor["model"][key] for key in changed} == changed
    version = {"withdraw": "3", "promote": "4"}[end]
    assert predictor["model"]["storageUri"] == f"{STORAGE}/{version}"
    assert rig.shares() == {version: 100}
