"""KServe's Standard mode: pods for a share, the routes that clients come by, and promotion."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rollout.errors import NotFoundError, RolloutError, UnfinishedError
from rollout.kserve.connect import Options
from rollout.kserve.weights import VERSION_HEADER
from rollout.types import Route, Standing
from tests.kubernetes.kserve_names import KServe
from tests.kubernetes.workloads import Fate, is_ready
from tests.rollout.kserve.objects import (
    CANDIDATE,
    HOST,
    NAME,
    NAMESPACE,
    STORAGE,
    public_route,
    service,
)
from tests.rollout.kserve.rig import MODES, rigged

OURS = {"labels": {"app.kubernetes.io/managed-by": "millrace-rollout"}}
KSERVES_HOST = f"{NAME}-{NAMESPACE}.example.com"


@pytest.fixture(params=["canary", "canary-keep-name", "canary-weighed", "pair"])
def standard(request, clients):
    """Of four pods."""
    with rigged(MODES[request.param], clients, service(minReplicas=4)) as rig:
        yield rig


@pytest.fixture
def start(clients):
    """A rig of any mode and InferenceService, which ends with the test."""
    opened = []

    def rig(mode, thing=None):
        context = rigged(mode, clients, thing)
        opened.append(context)
        return context.__enter__()

    yield rig
    for context in opened:
        context.__exit__(None, None, None)


def scaled_from_outside():
    """An InferenceService whose Deployment a ScaledObject of the user's scales."""
    thing = service()
    thing["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] = "external"
    return thing


def scale(rig, pods):
    """As an autoscaler does."""
    rig.cluster.patch("Deployment", f"{NAME}-predictor", {"spec": {"replicas": pods}}, NAMESPACE)


def names_of_pods(rig, version):
    """Those that are ready."""
    return {
        each["metadata"]["name"]
        for each in rig.cluster.list("Pod", NAMESPACE)
        if is_ready(each) and f"{STORAGE}/{version}" in each["metadata"]["annotations"].values()
    }


def route_of(rig, name=f"{NAME}-split"):
    """An HTTPRoute of the namespace."""
    return rig.cluster.get("HTTPRoute", name, NAMESPACE)


def test_a_share_has_the_pods_for_it(standard):
    """And the stable version keeps all of its own, so that everything can go back at once."""
    standard.launched()
    seen = []
    for percent in (0, 5, 30, 50, 100):
        standard.shared(percent)
        seen.append((standard.pods("3"), standard.pods("4")))

    assert seen == [(4, 1), (4, 1), (4, 2), (4, 2), (4, 4)]


def test_requests_wait_for_the_pods(standard):
    """More of them than run: the share stays until they are ready, and then it is set."""
    standard.launched()
    standard.shared(5)
    with standard.controller.held(), pytest.raises(UnfinishedError, match="1 of 2 pods"):
        standard.place().share(CANDIDATE, 50)

    assert standard.shares() == {"3": 95, "4": 5}
    standard.shared(50)
    assert standard.shares() == {"3": 50, "4": 50}


def test_pods_that_do_not_come_end_the_share(standard):
    """The next ones crash."""
    standard.launched()
    standard.controller.workloads.set_fate(f"{STORAGE}/4", Fate.CRASHING)
    standard.controller.settle()

    with pytest.raises(RolloutError, match=r"do not come: 0 of 2 pods are ready: .*exited with 1"):
        standard.carry_out(lambda place: place.share(CANDIDATE, 50))


@pytest.mark.parametrize("percent", [0, 10])
def test_a_share_that_does_not_rise_waits_for_nothing(standard, percent):
    """Its pods are gone, or more of them are awaited: so much the sooner."""
    standard.launched()
    standard.shared(30)
    standard.controller.workloads.set_fate(f"{STORAGE}/4", Fate.WAITING)
    standard.controller.settle()
    with pytest.raises(UnfinishedError):
        standard.place().share(CANDIDATE, 100)
    standard.controller.settle()

    standard.place().share(CANDIDATE, percent)

    standard.controller.settle()
    standard.controller.workloads.set_fate(f"{STORAGE}/4", Fate.READY)
    standard.controller.settle()
    standard.place().readiness(CANDIDATE)  # which sets weights that somebody put back
    standard.controller.settle()
    assert standard.shares().get("4", 0) == percent
    assert standard.pods("4") == 4


def test_no_share_of_a_candidate_that_is_gone_is_there_already(standard):
    """It was deleted, and its share goes nowhere."""
    standard.launched()
    standard.shared(30)
    if "second" in standard.mode.title:
        standard.cluster.delete("InferenceService", f"{NAME}-candidate", NAMESPACE)
    else:
        standard.cluster.patch("InferenceService", NAME, {"spec": {"canary": None}}, NAMESPACE)

    standard.place().share(CANDIDATE, 0)

    standard.controller.settle()
    assert standard.shares() == {"3": 100}
    with pytest.raises(NotFoundError, match="has lost its"):
        standard.place().share(CANDIDATE, 30)


def test_the_candidates_pods_become_the_stable_ones_without_a_restart(start):
    """They are the same pods, by the same names, under the Service that the route leads to."""
    rig = start(MODES["canary"], service(minReplicas=4))
    rig.launched()
    rig.shared(100)
    pods = names_of_pods(rig, "4")

    rig.carry_out(lambda place: place.promote(CANDIDATE))

    assert names_of_pods(rig, "4") == pods
    assert len(pods) == 4
    assert names_of_pods(rig, "3") == set()
    (rule,) = route_of(rig)["spec"]["rules"]
    assert [each["name"] for each in rule["backendRefs"]] == [f"{NAME}-v4-predictor"]


@pytest.mark.parametrize("mode", ["canary-keep-name", "pair"])
def test_or_the_stable_ones_are_replaced_under_their_names(start, mode):
    """While they are, the candidate has all requests: none is lost, and none waits."""
    rig = start(MODES[mode])
    rig.launched()
    rig.shared(100)
    with rig.controller.held(), pytest.raises(UnfinishedError, match="has not begun to replace"):
        rig.place().promote(CANDIDATE)
    assert rig.shares() == {"4": 100}
    rig.carry_out(lambda place: place.promote(CANDIDATE))

    assert names_of_pods(rig, "4")
    assert {each.split("-predictor")[0] for each in names_of_pods(rig, "4")} == {NAME}
    assert rig.shares() == {"4": 100}


def test_an_autoscaler_from_outside_finds_its_deployment_under_its_name(start):
    """KEDA's ScaledObject of manifests/components/autoscaling-keda names it."""
    rig = start(MODES["canary"], scaled_from_outside())
    scale(rig, 6)
    rig.controller.settle()
    rig.launched()
    rig.shared(50)
    assert (rig.pods("3"), rig.pods("4")) == (6, 3)
    rig.shared(100)
    assert rig.pods("4") == 6
    rig.carry_out(lambda place: place.promote(CANDIDATE))

    assert rig.cluster.get("Deployment", f"{NAME}-predictor", NAMESPACE)["spec"]["replicas"] == 6
    assert rig.service()["spec"]["predictor"].get("name") is None


def test_so_it_does_on_an_older_kserve(start):
    """The second InferenceService is scaled by KServe, whatever scales the first."""
    rig = start(MODES["pair"], scaled_from_outside())
    scale(rig, 6)
    rig.controller.settle()
    rig.launched()
    rig.shared(50)

    assert (rig.pods("3"), rig.pods("4")) == (6, 3)
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))
    assert rig.service()["spec"]["predictor"]["minReplicas"] == 2


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_pods_that_an_autoscaler_added_are_kept_for_the_time(start, mode):
    """The stable version has less to do while it shares; it must be able to take all back."""
    rig = start(MODES[mode], service(maxReplicas=10))
    rig.launched()
    with rig.controller.held():  # whose autoscaler would have its least again
        scale(rig, 5)
        with pytest.raises(UnfinishedError):
            rig.place().share(CANDIDATE, 60)
    rig.controller.settle()
    rig.shared(60)

    assert rig.pods("3") == 5
    predictor = rig.service()["spec"]["predictor"]
    more = 3 if mode == "canary" else 0  # which KServe takes away again
    assert predictor["minReplicas"] == 5 + more
    assert rig.pods("4") == 3
    rig.shared(100)
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    predictor = rig.service()["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (2, 10)


def test_a_canary_that_gets_nothing_is_noticed_before_it_is_asked_for_anything(start):
    """KServe 0.20.0 takes it and sends it nothing; no route of ours leads to the model."""
    rig = start(replace(MODES["canary"], own_route=False))
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    found = rig.place().readiness(CANDIDATE)

    assert found.standing is Standing.FAILED
    assert f"leads to Service {NAME}-predictor" in found.reason
    assert "--host" in found.reason
    with pytest.raises(RolloutError, match="--host"):
        rig.place().share(CANDIDATE, 5)
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))
    assert rig.service()["spec"].get("canary") is None


def test_an_older_kserve_without_a_route_is_refused_before_anything_is_made(start):
    """There is nothing to share requests out by."""
    rig = start(replace(MODES["pair"], own_route=False))
    before = rig.end()

    with pytest.raises(RolloutError, match="--host"):
        rig.place().launch(CANDIDATE)

    assert rig.end() == before


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_the_host_that_clients_use_is_given_a_route(start, mode):
    """On KServe's own gateway; it stays afterwards, and goes with the InferenceService."""
    rig = start(replace(MODES[mode], own_route=False, options=Options(host=HOST)))
    rig.carry_out(lambda place: place.launch(CANDIDATE))
    rig.mode = replace(rig.mode, own_route=True)
    assert rig.shares() == {"3": 100}
    rig.launched()
    rig.shared(25)
    assert rig.shares() == {"3": 75, "4": 25}
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.shares() == {"3": 100}
    route = route_of(rig)
    assert route["spec"]["hostnames"] == [HOST]
    (parent,) = route["spec"]["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("kserve", "kserve-ingress-gateway")
    assert [each["uid"] for each in route["metadata"]["ownerReferences"]] == [
        rig.service()["metadata"]["uid"]
    ]


def test_a_gateway_of_ones_own_is_where_that_route_is(start):
    """Where KServe's is another one."""
    options = Options(host=HOST, gateway="edge/public")
    rig = start(replace(MODES["canary"], own_route=False, options=options))
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    (parent,) = route_of(rig)["spec"]["parentRefs"]
    assert (parent["namespace"], parent["name"]) == ("edge", "public")


def test_every_route_that_leads_to_the_model_is_weighed(start):
    """Whatever it is called; KServe's own is left to KServe, others to others."""
    rig = start(MODES["canary"])
    other = public_route(
        {"name": "digits-predictor", "port": 80}, name="digits", host="digits.example.com"
    )
    rig.cluster.create(other)
    rig.cluster.create(public_route(name="vision", host="vision.example.com"))
    kserves = {name: route_of(rig, name)["spec"] for name in (NAME, f"{NAME}-predictor")}
    rig.launched()
    rig.shared(40)

    for name in (f"{NAME}-split", "vision"):
        rule = route_of(rig, name)["spec"]["rules"][-1]
        assert [each["weight"] for each in rule["backendRefs"]] == [60, 40]
    assert (
        route_of(rig, "digits")["spec"]["rules"][0]["backendRefs"][0]["name"] == "digits-predictor"
    )
    assert {name: route_of(rig, name)["spec"] for name in kserves} == kserves


def test_weights_that_somebody_put_back_are_set_again(start):
    """`kubectl apply -k` of the overlay, say: with the next look."""
    rig = start(MODES["canary"])
    rig.launched()
    rig.shared(40)
    rig.cluster.put(public_route())
    assert rig.shares() == {"3": 100}

    rig.launched()

    assert rig.shares() == {"3": 60, "4": 40}


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_each_version_is_asked_by_the_public_route_and_a_header(start, mode):
    """So golden images go the way of the clients, also while the share is 0."""
    rig = start(MODES[mode])
    public = Route(f"http://{HOST}/v2/models/{NAME}")
    assert rig.place().public() == public
    assert rig.place().direct("3") == replace(public, version="3")
    rig.launched()

    for version in ("3", "4"):
        headers = {"millrace-version": version}
        assert rig.place().direct(version) == replace(public, headers=headers, version=version)
    with pytest.raises(NotFoundError, match="no version 5"):
        rig.place().direct("5")
    by_version = route_of(rig)["spec"]["rules"][:-1]
    assert [
        (rule["matches"][0]["headers"][0]["value"], rig._behind(rule["backendRefs"][0]["name"]))
        for rule in by_version
    ] == [("3", "3"), ("4", "4")]
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))
    assert len(route_of(rig)["spec"]["rules"]) == 1


def test_a_gateway_whose_names_nobody_resolves_is_asked_by_its_address(start):
    """With the host name as a header."""
    options = Options(address="http://10.0.0.7:8080/")
    rig = start(replace(MODES["canary"], options=options))
    rig.launched()

    assert rig.place().public() == Route(f"http://10.0.0.7:8080/v2/models/{NAME}", {"Host": HOST})
    assert rig.place().direct("4").headers == {"Host": HOST, "millrace-version": "4"}


def test_where_kserve_weighs_its_own_address_is_the_public_one(start):
    """And a version is asked by its Service."""
    rig = start(MODES["canary-weighed"])
    rig.launched()

    assert rig.place().public() == Route(f"http://{KSERVES_HOST}/v2/models/{NAME}")
    inside = f"{NAMESPACE}.svc.cluster.local/v2/models/{NAME}"
    assert rig.place().direct("4") == Route(f"http://{NAME}-v4-predictor.{inside}", version="4")
    assert rig.place().direct("3") == Route(f"http://{NAME}-predictor.{inside}", version="3")


def test_a_canary_of_somebody_elses_is_not_touched(start):
    """Of three versions no share means anything."""
    rig = start(MODES["canary"])
    model = {**service()["spec"]["predictor"]["model"], "name": "kserve-container"}
    entry = {
        "trafficPercent": 10,
        "predictor": {"name": "canary", "minReplicas": 1, "model": model},
    }
    rig.cluster.patch("InferenceService", NAME, {"spec": {"canary": [entry]}}, NAMESPACE)
    rig.controller.settle()

    with pytest.raises(RolloutError, match="a canary of somebody else's, canary"):
        rig.place().launch(CANDIDATE)


def test_a_canary_is_the_stable_predictor_with_another_package(start):
    """What a pod is given stays; what scales does not go along, as KServe's webhook wants it."""
    rig = start(MODES["canary"], service(maxReplicas=6, scaleMetric="cpu", scaleTarget=70))
    stable = rig.service()["spec"]["predictor"]
    rig.launched()

    (entry,) = rig.service()["spec"]["canary"]
    assert entry["trafficPercent"] == 0
    predictor = entry["predictor"]
    assert {"maxReplicas", "scaleMetric", "scaleTarget"}.isdisjoint(predictor)
    for key in ("serviceAccountName", "tolerations", "securityContext"):
        assert predictor[key] == stable[key]
    assert {**predictor["model"], "storageUri": ""} == {
        **stable["model"],
        "storageUri": "",
        "name": "kserve-container",
    }
    rig.shared(100)
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    promoted = rig.service()["spec"]["predictor"]
    assert {
        key: promoted.get(key)
        for key in ("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget")
    } == {
        "minReplicas": 2,
        "maxReplicas": 6,
        "scaleMetric": "cpu",
        "scaleTarget": 70,
    }


def test_the_second_inferenceservice_is_the_same_model_by_name(start):
    """In URLs; and it goes with the first."""
    rig = start(MODES["pair"])
    rig.launched()

    second = rig.cluster.get("InferenceService", f"{NAME}-candidate", NAMESPACE)
    predictor = second["spec"]["predictor"]
    assert predictor["model"]["args"] == [f"--model_name={NAME}"]
    assert predictor["model"]["storageUri"] == f"{STORAGE}/4"
    assert [each["uid"] for each in second["metadata"]["ownerReferences"]] == [
        rig.service()["metadata"]["uid"]
    ]


@pytest.mark.parametrize("version", ["3", "4"])
def test_a_second_inferenceservice_that_is_not_ours_is_not_taken(start, version):
    """Somebody else's, of that name and perhaps of that number; nor is it deleted at the end."""
    rig = start(MODES["pair"])
    other = service()
    other["metadata"] |= {
        "name": f"{NAME}-candidate",
        "annotations": rig.service()["metadata"]["annotations"],
    }
    other["spec"]["predictor"]["model"]["storageUri"] = f"{STORAGE}/{version}"
    rig.cluster.create(other)
    theirs = {"name": f"{NAME}-candidate-predictor", "port": 80}
    rig.cluster.create(public_route(theirs, name="theirs", host="theirs.example.com"))
    rig.controller.settle()
    before = rig.end()

    with pytest.raises(RolloutError, match=f"{NAME}-candidate that no rollout has made"):
        rig.place().launch(CANDIDATE)
    assert rig.place().readiness(CANDIDATE).standing is Standing.ABSENT
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.end() == before


def test_nor_is_one_that_somebody_put_in_the_candidates_place(start):
    """It stays when the rollout ends."""
    rig = start(MODES["pair"])
    rig.launched()
    rig.shared(50)
    label = {"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}}
    rig.cluster.patch("InferenceService", f"{NAME}-candidate", label, NAMESPACE)
    assert rig.place().readiness(CANDIDATE).standing is Standing.ABSENT

    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.cluster.get("InferenceService", f"{NAME}-candidate", NAMESPACE) is not None
    assert rig.shares() == {"3": 100}
    assert "ConfigMap" not in str(rig.end()["others"])


def test_an_upgrade_of_kserve_in_between_ends_it_as_it_began(start):
    """A second InferenceService is there, and KServe has spec.canary by now."""
    rig = start(MODES["canary"])
    other = service()
    other["metadata"] |= {"name": f"{NAME}-candidate"}
    rig.cluster.create(other)
    assert "spec.canary" in rig.place().title  # it is somebody's
    rig.cluster.patch("InferenceService", f"{NAME}-candidate", {"metadata": OURS}, NAMESPACE)

    assert "second InferenceService" in rig.place().title


@pytest.mark.parametrize("part", ["transformer", "explainer"])
def test_what_a_rollout_does_not_know_is_refused(start, part):
    """A transformer would go on asking the stable version."""
    thing = service()
    container = {"name": "kserve-container", "image": "x"}
    thing["spec"][part] = {"containers": [container]}
    rig = start(replace(MODES["canary"], kserve=KServe(gateway_api=False)), thing)

    with pytest.raises(RolloutError, match=f"has a {part}"):
        rig.place()


@pytest.mark.parametrize("weighs", [False, True])
def test_the_host_that_kserve_gave_is_none_for_a_second_route(start, weighs):
    """The older route would get its requests: KServe's, which weighs by itself or does not."""
    mode = MODES["canary-weighed" if weighs else "canary"]
    rig = start(replace(mode, own_route=False, options=Options(host=KSERVES_HOST)))
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    assert route_of(rig) is None
    found = rig.place().readiness(CANDIDATE)
    assert found.standing is (Standing.READY if weighs else Standing.FAILED)


def test_a_route_of_that_name_that_leads_elsewhere_is_left_alone(start):
    """It is somebody's."""
    rig = start(replace(MODES["canary"], own_route=False, options=Options(host=HOST)))
    rig.cluster.create(public_route({"name": "digits-predictor", "port": 80}))

    with pytest.raises(RolloutError, match="classifier-split that leads elsewhere"):
        rig.place().launch(CANDIDATE)


@pytest.mark.parametrize("mode", ["canary", "pair"])
def test_a_route_of_many_rules_is_weighed_and_versions_are_asked_by_their_services(start, mode):
    """Rules for them as well would be more than a route may have."""
    rig = start(replace(MODES[mode], own_route=False))
    route = public_route()
    (rule,) = route["spec"]["rules"]
    paths = [{"path": {"type": "PathPrefix", "value": f"/{number}"}} for number in range(6)]
    route["spec"]["rules"] = [{**rule, "matches": [path]} for path in paths]
    rig.cluster.create(route)
    rig.mode = replace(rig.mode, own_route=True)
    rig.launched()
    rig.shared(40)
    rig.launched()

    assert len(route_of(rig)["spec"]["rules"]) == 6
    assert rig.shares() == {"3": 60, "4": 40}
    named = f"{NAME}-candidate" if mode == "pair" else f"{NAME}-v4"
    inside = f"{NAMESPACE}.svc.cluster.local/v2/models/{NAME}"
    assert rig.place().direct("4") == Route(f"http://{named}-predictor.{inside}", version="4")
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))
    assert rig.shares() == {"3": 100}


def test_a_way_by_version_is_one_if_every_route_has_it(start):
    """Which of them a request takes goes by the host, and one of them has no room for it."""
    rig = start(MODES["canary"])
    other = public_route(name="vision", host="vision.example.com")
    other["spec"]["rules"] *= 6
    rig.cluster.create(other)
    rig.launched()

    assert VERSION_HEADER not in rig.place().direct("4").headers
