"""The pods of two versions in Standard mode while others scale them, or they do not come."""

from __future__ import annotations

import pytest

from rollout.errors import RolloutError
from rollout.kserve.pods import standing
from rollout.types import Standing
from tests.kubernetes.workloads import Fate
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE, STORAGE, service
from tests.rollout.kserve.rig import MODES, rigged

STABLE_PODS = f"{NAME}-predictor"


def scaled_from_outside():
    """An InferenceService whose Deployment a ScaledObject of the user's scales."""
    thing = service()
    thing["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = "external"
    return thing


def scale(rig, pods):
    """As an autoscaler does."""
    rig.cluster.patch("Deployment", STABLE_PODS, {"spec": {"replicas": pods}}, NAMESPACE)
    rig.controller.settle()


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_a_candidate_has_the_pods_for_its_share_though_the_stable_one_has_fewer_by_then(
    clients, mode
):
    """An autoscaler takes pods away as the share falls; ten can take all requests all the same."""
    with rigged(MODES[mode], clients, scaled_from_outside()) as rig:
        scale(rig, 10)
        rig.launched()
        seen = []
        for percent, left in ((25, 8), (50, 5), (100, 2)):
            rig.shared(percent)
            scale(rig, left)
            seen.append(rig.pods("4"))

        assert seen == [3, 5, 10]
        rig.shared(100)  # as a promotion does, and whoever takes over
        assert rig.pods("4") == 10


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_a_candidate_never_has_fewer_pods_than_it_had(clients, mode):
    """A share that is set again is one that has requests."""
    with rigged(MODES[mode], clients, service(minReplicas=4)) as rig:
        rig.launched()
        rig.shared(100)
        rig.shared(50)

        assert rig.pods("4") == 4


@pytest.mark.parametrize("mode", ["canary-keep-name", "pair"])
@pytest.mark.parametrize("fate", [Fate.TIMED_OUT, Fate.CRASHING])
def test_pods_that_cannot_be_replaced_are_told_and_it_can_be_withdrawn(clients, mode, fate):
    """No room, or they end: nobody waits for ever, and requests can go back."""
    with rigged(MODES[mode], clients) as rig:
        before = rig.end()
        rig.launched()
        rig.shared(100)
        rig.controller.workloads.set_fate(f"{STORAGE}/4", fate, STABLE_PODS)

        with pytest.raises(RolloutError, match="classifier-predictor cannot be replaced: "):
            rig.carry_out(lambda place: place.promote(CANDIDATE))
        assert rig.shares() == {"4": 100}
        rig.carry_out(lambda place: place.withdraw(CANDIDATE))

        assert rig.shares() == {"3": 100}
        assert rig.end()["spec"] == before["spec"]


@pytest.mark.parametrize("mode", ["knative", "canary", "pair"])
def test_a_pod_that_has_started_again_is_told_until_the_next_share(clients, mode):
    """However often it is looked; what was before a share is no matter to it."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        place = rig.place()
        for percent in (10, 20):
            place.share(CANDIDATE, percent)
            rig.controller.settle()
            assert place.readiness(CANDIDATE).standing is Standing.READY
            rig.controller.workloads.restart(pod_of(rig, "4"))
            rig.controller.settle()

            for _ in range(2):
                found = place.readiness(CANDIDATE)
                assert found.standing is Standing.STARTING
                assert "has started again: exited with 137 OOMKilled" in found.reason
        assert rig.place().readiness(CANDIDATE).standing is Standing.READY


def pod_of(rig, version):
    """The name of the one pod of a version."""
    (name,) = (
        each["metadata"]["name"]
        for each in rig.cluster.list("Pod", NAMESPACE)
        if f"{STORAGE}/{version}" in each["metadata"]["annotations"].values()
    )
    return name


def test_one_of_several_pods_that_ends_again_and_again_is_not_ready(clients):
    """The others are, and get its requests as well."""
    with rigged(MODES["canary"], clients, service(minReplicas=4)) as rig:
        rig.launched()
        rig.shared(100)
        place = rig.place()
        assert place.readiness(CANDIDATE).standing is Standing.READY
        (pod, *_) = (
            each
            for each in rig.cluster.list("Pod", NAMESPACE)
            if f"{STORAGE}/4" in each["metadata"]["annotations"].values()
        )
        status = pod["status"]
        ended = {"exitCode": 137, "reason": "OOMKilled"}
        status["containerStatuses"][0] |= {
            "restartCount": 7,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": ended},
        }
        for each in status["conditions"]:
            each["status"] = "False"
        with rig.controller.held():
            rig.cluster.set_status(pod, status)

            found = rig.place().readiness(CANDIDATE)

        assert found.standing is Standing.STARTING
        assert "CrashLoopBackOff, exited with 137 OOMKilled" in found.reason


def test_a_ready_pod_that_once_crashed_is_no_reason(clients):
    """It came up in the end; the next one is only starting."""
    with rigged(MODES["canary"], clients, service(minReplicas=2)) as rig:
        (pod, *_) = rig.cluster.list("Pod", NAMESPACE)
        status = pod["status"]
        ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": "no such model"}}
        status["containerStatuses"][0] |= {"restartCount": 5, "lastState": ended}
        with rig.controller.held():
            rig.cluster.set_status(pod, status)

            assert standing(rig.client, STABLE_PODS, 3).standing is Standing.STARTING
