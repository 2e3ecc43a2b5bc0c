"""A rollout that is ended while something is amiss: its memory, the registry, a webhook, others."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from rollout.errors import ConflictError, RolloutError, UnfinishedError, UnreachableError
from rollout.kserve.connect import Options
from tests.kubernetes.refusals import denied
from tests.kubernetes.trouble import Harm
from tests.rollout.kserve.objects import (
    CANDIDATE,
    NAME,
    NAMESPACE,
    STORAGE,
    from_registry,
    runtime,
)
from tests.rollout.kserve.rig import MODES, Mortal, rigged


def forget(rig):
    """Somebody deletes what the rollout keeps for its end."""
    rig.cluster.delete("ConfigMap", f"{NAME}-rollout-before", NAMESPACE)


def delete(rig):
    """Somebody deletes the candidate."""
    if rig.mode is MODES["pair"]:
        rig.cluster.delete("InferenceService", f"{NAME}-candidate", NAMESPACE)
    else:
        rig.cluster.patch("InferenceService", NAME, {"spec": {"canary": None}}, NAMESPACE)
    rig.controller.settle()


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_without_its_memory_requests_go_back_all_the_same(clients, mode):
    """And the candidate goes."""
    with rigged(MODES[mode], clients) as rig:
        before = rig.end()
        rig.launched()
        rig.shared(50)
        forget(rig)

        rig.carry_out(lambda place: place.withdraw(CANDIDATE))

        assert rig.shares() == {"3": 100}
        assert rig.end()["others"] == before["others"]
        assert rig.pods("4") == 0


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_weights_that_nothing_else_is_left_of_are_taken_back(clients, mode):
    """Memory and candidate were deleted by hand; requests got lost since."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        rig.shared(50)
        forget(rig)
        delete(rig)
        assert rig.shares() == {"3": 50, "lost": 50}

        rig.carry_out(lambda place: place.withdraw(CANDIDATE))

        assert rig.shares() == {"3": 100}


def test_a_second_inferenceservice_of_somebody_elses_stays(clients):
    """It is not labelled as a rollout's."""
    with rigged(MODES["pair"], clients) as rig:
        rig.launched()
        forget(rig)
        second = f"{NAME}-candidate"
        label = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}
        rig.cluster.patch("InferenceService", second, label, NAMESPACE)

        rig.carry_out(lambda place: place.withdraw(CANDIDATE))

        assert rig.cluster.get("InferenceService", second, NAMESPACE) is not None


@pytest.mark.parametrize("percent", [50, 100])
def test_in_knative_mode_too_but_what_was_served_before_is_for_people_to_say(clients, percent):
    """It is not called done before that."""
    with rigged(MODES["knative"], clients) as rig:
        rig.launched()
        rig.shared(percent)
        forget(rig)
        for _ in range(2):
            with pytest.raises(RolloutError, match=r"has deleted its ConfigMap .* 0, and remove"):
                rig.carry_out(lambda place: place.withdraw(CANDIDATE))
            rig.controller.settle()
            assert rig.shares() == {"3": 100}

        stable = {"spec": {"predictor": {"model": {"storageUri": f"{STORAGE}/3"}}}}
        rig.cluster.patch("InferenceService", NAME, stable, NAMESPACE)
        rig.controller.settle()
        rig.carry_out(lambda place: place.withdraw(CANDIDATE))
        assert rig.shares() == {"3": 100}


@pytest.mark.parametrize("mode", ["knative", "canary", "pair"])
def test_pods_that_follow_are_left_without_asking_who_is_champion(clients, mode):
    """The registry is down: requests go back, and nothing of the rollout stays."""
    following = replace(MODES[mode], options=Options(champion="3"))
    with rigged(following, clients, from_registry(model_dir="")) as rig:
        rig.cluster.put(runtime("--model_dir=models:/{{.Name}}@champion"))
        before = rig.service()["spec"]
        rig.carry_out(lambda place: place.launch(CANDIDATE))
        rig.carry_out(lambda place: place.share(CANDIDATE, 50))
        rig.mode = replace(rig.mode, options=Options())

        rig.carry_out(lambda place: place.withdraw(CANDIDATE))

        assert rig.service()["spec"] == before
        assert rig.cluster.list("ConfigMap", NAMESPACE) == []


@pytest.mark.parametrize("mode", ["canary", "canary-keep-name", "pair"])
def test_weights_go_back_before_any_webhook_is_asked(clients, mode):
    """KServe's is down, so that nothing of an InferenceService can be written."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        rig.shared(50)
        down = denied("inferenceservice.kserve-webhook-server.defaulter", "no endpoints", 500)
        trouble = rig.cluster.trouble(Harm.REFUSED, "patch", "/inferenceservices/", 99, down)

        with contextlib.suppress(UnreachableError):  # the older KServe's had nothing to write
            rig.place().withdraw(CANDIDATE)

        assert rig.shares() == {"3": 100}
        trouble.times = 0
        rig.carry_out(lambda place: place.withdraw(CANDIDATE))


@pytest.mark.parametrize("mode", ["canary"])
def test_a_share_does_not_rise_where_the_webhook_cannot_be_asked(clients, mode):
    """Nobody judges a candidate meanwhile."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        rig.shared(10)
        rig.cluster.trouble(
            Harm.REFUSED,
            "patch",
            "/inferenceservices/",
            99,
            denied("inferenceservice.kserve-webhook-server.defaulter", "no endpoints", 500),
        )

        with pytest.raises(UnreachableError):
            rig.place().share(CANDIDATE, 20)

        assert rig.shares() == {"3": 90, "4": 10}


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_a_candidate_that_is_deleted_at_its_promotion_has_no_requests(clients, mode):
    """They would lead to nothing; whoever promotes is told."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        rig.shared(50)
        delete(rig)

        with pytest.raises(RolloutError):
            rig.place().promote(CANDIDATE)

        assert rig.shares() == {"3": 100}


class Late(Mortal):
    """A client whose process hangs before its patch of that number, while another one goes on."""

    def __init__(self, client, number, meanwhile):
        super().__init__(client, 0)
        self.number, self.meanwhile = number, meanwhile

    def _ask(self, verb, resource, name, **more):
        if verb == "patch" and "dryRun" not in str(more.get("query")):
            self.number -= 1
            if self.number == 0:
                self.meanwhile()
        return super()._ask(verb, resource, name, **more)


@pytest.mark.parametrize("relaunched", [False, True])
@pytest.mark.parametrize("order", [("share", (100,)), ("promote", ())])
@pytest.mark.parametrize("mode", ["knative", "canary", "canary-keep-name", "pair"])
def test_whoever_is_late_gives_a_candidate_nothing_any_more(clients, mode, order, relaunched):
    """It was withdrawn while the order hung, before whichever of its writes."""
    name, more = order
    with rigged(MODES[mode], clients) as rig:

        def meanwhile():
            rig.controller.settle()
            rig.carry_out(lambda place: place.withdraw(CANDIDATE))
            if relaunched:
                rig.launched()

        # The fourth write of a promotion by name is the promotion.
        for number in range(1, 5 if mode == "canary" else 9):
            rig.launched()
            rig.shared(50)
            late = Late(rig.client, number, meanwhile)
            error = refusal(rig, late, lambda place: getattr(place, name)(CANDIDATE, *more))
            if late.number > 0:
                break  # it has no more writes than that
            assert error is not None, number
            assert rig.shares() == {"3": 100}, number
            rig.carry_out(lambda place: place.withdraw(CANDIDATE))
        assert number > 1


def refusal(rig, client, order):
    """Of an order that is given until it is through; None: it was carried out."""
    for _ in range(6):
        try:
            order(rig.place(client))
        except UnfinishedError:
            rig.controller.settle()
        except RolloutError as error:
            rig.controller.settle()
            return error
        else:
            break
    rig.controller.settle()
    return None


@pytest.mark.parametrize("mode", ["knative", "canary", "pair"])
def test_what_is_being_withdrawn_gets_no_share(clients, mode):
    """Not even while all of it is there still; launched anew it may."""
    with rigged(MODES[mode], clients) as rig:
        rig.launched()
        memory = rig.place()._site.memory
        memory.end(memory.read())

        with pytest.raises(ConflictError, match="ended by somebody else"):
            rig.place().share(CANDIDATE, 50)

        assert rig.shares() == {"3": 100}
        rig.launched()
        rig.shared(50)
        assert rig.shares() == {"3": 50, "4": 50}
