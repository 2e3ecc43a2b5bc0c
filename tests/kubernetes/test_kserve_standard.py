"""The emulation of KServe in Standard mode meets what its v0.20.0 and v0.15.2 do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes.cluster import Cluster, running
from tests.kubernetes.conftest import connected
from tests.kubernetes.kserve_controller import Controller, install, kserve_running
from tests.kubernetes.kserve_names import STORAGE_URI, KServe
from tests.kubernetes.test_objects import ISVCS, refusal, service
from tests.kubernetes.workloads import Fate, is_ready


@pytest.fixture
def controller(cluster: Cluster) -> Iterator[Controller]:
    """KServe 0.20.0."""
    with kserve_running(cluster) as controller:
        yield controller


def of(version: int) -> dict[str, Any]:
    """A model of that version."""
    return {"modelFormat": {"name": "millrace"}, "storageUri": f"pvc://models/shop/{version}"}


def canary(percent: int, **predictor: Any) -> dict[str, Any]:
    """A patch that has version 2 as the canary; its schema demands the container's name there."""
    model = {"name": "kserve-container", **of(2)}
    entry = {"trafficPercent": percent, "predictor": {"name": "v2", "model": model, **predictor}}
    return {"spec": {"canary": [entry]}}


NAMELESS = {"predictor": {"model": {"name": "kserve-container", **of(2)}}}


def conditions(isvc: dict[str, Any]) -> dict[str, str]:
    """Status by type."""
    return {each["type"]: each["status"] for each in isvc["status"]["conditions"]}


def backends(cluster: Cluster, route: str) -> list[tuple[str, int]]:
    """The Services that an HTTPRoute sends to, and their weights; the same in all its rules."""
    rules = cluster.get("HTTPRoute", route)["spec"]["rules"]
    found = [[(each["name"], each["weight"]) for each in rule["backendRefs"]] for rule in rules]
    assert all(each == found[0] for each in found)
    return found[0]


def test_an_inference_service_becomes_ready(
    cluster: Cluster, controller: Controller, api: client.ApiClient
) -> None:
    """With a Deployment, a Service, two HTTPRoutes and a URL; annotations go on to the pods."""
    custom = client.CustomObjectsApi(api)
    made = service()
    made["metadata"]["annotations"] = {"team": "vision"}
    custom.create_namespaced_custom_object(*ISVCS, made)
    controller.settle()
    isvc = custom.get_namespaced_custom_object(*ISVCS, "shop")
    assert conditions(isvc) == {
        "IngressReady": "True",
        "PredictorReady": "True",
        "Ready": "True",
        "Stopped": "False",
    }
    assert isvc["status"]["url"] == "http://shop-default.example.com"
    assert isvc["status"]["deploymentMode"] == "Standard"
    assert isvc["status"]["modelStatus"]["states"]["activeModelState"] == "Loaded"
    assert backends(cluster, "shop") == [("shop-predictor", 1)]
    pods = client.CoreV1Api(api).list_namespaced_pod("default").items
    assert [pod.metadata.annotations["team"] for pod in pods] == ["vision"]


def test_a_canary_has_pods_and_no_requests(cluster: Cluster, controller: Controller) -> None:
    """v0.20.0 takes the percentage and sends nothing."""
    cluster.create(service(minReplicas=2))
    controller.settle()
    cluster.patch("InferenceService", "shop", canary(20))
    controller.settle()
    isvc = cluster.get("InferenceService", "shop")
    assert isvc["status"]["canaryStatuses"] == [
        {
            "name": "v2",
            "ready": True,
            "trafficPercent": 20,
            "modelStatus": {"transitionStatus": ""},
        }
    ]
    assert conditions(isvc)["CanaryPredictorReady"] == "True"
    assert cluster.get("Service", "shop-v2-predictor", group="")
    assert backends(cluster, "shop") == [("shop-predictor", 1)]


def test_a_later_version_weighs_the_canary_once_it_is_ready(cluster: Cluster) -> None:
    """The switch: what its main branch does after v0.20.0."""
    with kserve_running(cluster, KServe(weighs_canaries=True)) as controller:
        controller.workloads.set_fate("pvc://models/shop/2", Fate.WAITING)
        cluster.create(service())
        controller.settle()
        cluster.patch("InferenceService", "shop", canary(20))
        controller.settle()
        assert backends(cluster, "shop") == [("shop-predictor", 100)]
        controller.workloads.set_fate("pvc://models/shop/2", Fate.READY)
        controller.settle()
        assert backends(cluster, "shop") == [("shop-predictor", 80), ("shop-v2-predictor", 20)]


def test_weights_of_others_in_its_routes_go_unnoticed(
    cluster: Cluster, controller: Controller
) -> None:
    """Until something else of the route changes: v0.20.0 compares only what it sets itself."""
    cluster.create(service())
    cluster.patch("InferenceService", "shop", canary(20))
    controller.settle()
    route = cluster.get("HTTPRoute", "shop")
    for rule in route["spec"]["rules"]:
        first = rule["backendRefs"][0]
        rule["backendRefs"] = [
            {**first, "weight": 80},
            {**first, "name": "shop-v2-predictor", "weight": 20},
        ]
    cluster.put(route)
    controller.settle()
    weighed = [("shop-predictor", 80), ("shop-v2-predictor", 20)]
    assert backends(cluster, "shop") == weighed
    cluster.patch("InferenceService", "shop", {"metadata": {"annotations": {"a": "b"}}})
    controller.settle()
    assert backends(cluster, "shop") == [("shop-predictor", 1)]


def test_a_dark_canary_without_autoscaler_has_no_pod_unless_it_asks(
    cluster: Cluster, controller: Controller
) -> None:
    """Of 0 % it has ceil(0) replicas, and is never ready."""
    fixed = service()
    fixed["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": "none"}
    cluster.create(fixed)
    cluster.patch("InferenceService", "shop", canary(0))
    controller.settle()
    assert cluster.get("Deployment", "shop-v2-predictor")["spec"]["replicas"] == 0
    assert not cluster.get("InferenceService", "shop")["status"]["canaryStatuses"][0]["ready"]
    cluster.patch("InferenceService", "shop", canary(0, minReplicas=1))
    controller.settle()
    assert cluster.get("InferenceService", "shop")["status"]["canaryStatuses"][0]["ready"]


def test_a_promoted_canary_is_not_restarted(cluster: Cluster, controller: Controller) -> None:
    """Its name becomes the predictor's, in one update: pods stay, what was served before goes."""
    cluster.create(service())
    cluster.patch("InferenceService", "shop", canary(20, minReplicas=1))
    controller.settle()
    (before,) = cluster.list("Pod", labels="app=isvc.shop-v2-predictor")
    promoted = {"predictor": {"name": "v2", "model": of(2)}, "canary": None}
    cluster.patch("InferenceService", "shop", {"spec": promoted})
    controller.settle()
    (after,) = cluster.list("Pod", "default")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert backends(cluster, "shop") == [("shop-v2-predictor", 1)]
    isvc = cluster.get("InferenceService", "shop")
    assert "CanaryPredictorReady" not in conditions(isvc)
    assert not cluster.get("Deployment", "shop-predictor")


@pytest.mark.parametrize(
    ("fate", "state", "reason"),
    [(Fate.CRASHING, "FailedToLoad", "ModelLoadFailed"), (Fate.NO_IMAGE, "Pending", None)],
)
def test_a_model_that_does_not_load_says_so(
    cluster: Cluster, controller: Controller, fate: Fate, state: str, reason: str | None
) -> None:
    """In modelStatus; an image that is not there shows in the pods alone."""
    controller.workloads.set_fate("pvc://models/shop/1", fate)
    cluster.create(service())
    controller.settle()
    status = cluster.get("InferenceService", "shop")["status"]
    assert conditions({"status": status})["Ready"] == "False"
    assert status["modelStatus"]["states"]["targetModelState"] == state
    assert (status["modelStatus"].get("lastFailureInfo") or {}).get("reason") == reason


@pytest.mark.parametrize(
    ("patch", "told"),
    [
        (
            canary(5, maxReplicas=3),
            'canary "v2" must not set maxReplicas (canary uses fixed replicas)',
        ),
        (
            canary(5, minReplicas=4),
            'canary "v2" minReplicas (4) must not exceed stable predictor minReplicas (1)',
        ),
        (
            {"spec": {"canary": [{**NAMELESS, "trafficPercent": 5}]}},
            "canary[0] predictor.name is required",
        ),
        (
            {"spec": {"canary": canary(60)["spec"]["canary"] * 2}},
            'canary predictor.name "v2" is duplicated',
        ),
        (
            {"spec": {"predictor": {"name": "v2"}}},
            "predictor.name change requires a model change (e.g. storageUri)",
        ),
    ],
)
def test_the_webhook_refuses_what_kserve_does(
    cluster: Cluster, controller: Controller, api: client.ApiClient, patch: Any, told: str
) -> None:
    """In its words."""
    cluster.create(service())
    controller.settle()
    with pytest.raises(client.ApiException) as error:
        client.CustomObjectsApi(api).patch_namespaced_custom_object(*ISVCS, "shop", patch)
    webhook = 'admission webhook "inferenceservice.kserve-webhook-server.validator"'
    assert refusal(error.value)[::2] == (403, f"{webhook} denied the request: {told}")


def test_the_status_says_the_deployments_generation(
    cluster: Cluster, controller: Controller
) -> None:
    """Not the InferenceService's: one who waits for that waits for ever."""
    cluster.create(service())
    controller.settle()
    cluster.patch("InferenceService", "shop", canary(5))
    controller.settle()
    isvc = cluster.get("InferenceService", "shop")
    assert (isvc["metadata"]["generation"], isvc["status"]["observedGeneration"]) == (2, 1)


def test_pods_that_others_scale_are_left_to_them(cluster: Cluster, controller: Controller) -> None:
    """With an external autoscaler, of the canary too: one, until somebody says otherwise."""
    scaled = service()
    scaled["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": "external"}
    cluster.create(scaled)
    controller.settle()
    cluster.patch("Deployment", "shop-predictor", {"spec": {"replicas": 3}})
    cluster.patch("InferenceService", "shop", canary(0))
    controller.settle()
    replicas = {
        each["metadata"]["name"]: each["spec"]["replicas"]
        for each in cluster.list("Deployment", "default")
    }
    assert replicas == {"shop-predictor": 3, "shop-v2-predictor": 1}


@pytest.mark.parametrize(("version", "ready"), [("0.15.2", "True"), ("0.20.0", "False")])
def test_new_pods_that_do_not_come_leave_the_old_ones(version: str, ready: str) -> None:
    """They serve on; v0.20.0 says that it is not as wanted."""
    kserve = KServe(version)
    with (
        running(f"kserve-{version}", "gateway-api") as cluster,
        kserve_running(cluster, kserve) as controller,
    ):
        cluster.create(service())
        controller.settle()
        controller.workloads.set_fate("pvc://models/shop/2", Fate.TIMED_OUT)
        cluster.patch("InferenceService", "shop", {"spec": {"predictor": {"model": of(2)}}})
        controller.settle()
        status = cluster.get("InferenceService", "shop")["status"]
        assert conditions({"status": status})["PredictorReady"] == ready
        serving = [pod for pod in cluster.list("Pod", "default") if is_ready(pod)]
        assert [pod["metadata"]["annotations"][STORAGE_URI] for pod in serving] == [
            "pvc://models/shop/1"
        ]


def test_the_older_kserve_takes_back_what_others_write_in_its_routes() -> None:
    """v0.15.2 compares all of it."""
    with (
        running("kserve-0.15.2", "gateway-api") as cluster,
        kserve_running(cluster, KServe("0.15.2")) as controller,
    ):
        cluster.create(service())
        controller.settle()
        route = cluster.get("HTTPRoute", "shop")
        for rule in route["spec"]["rules"]:
            rule["backendRefs"].append({**rule["backendRefs"][0], "name": "own", "weight": 20})
        cluster.put(route)
        controller.settle()
        assert backends(cluster, "shop") == [("shop-predictor", 1)]


def test_what_goes_takes_its_parts_along(cluster: Cluster, controller: Controller) -> None:
    """Deleted, an InferenceService waits for its finalizer, and then all that it owned is gone."""
    cluster.create(service())
    controller.settle()
    assert cluster.list("Pod", "default")
    with controller.held():
        cluster.delete("InferenceService", "shop")
        assert cluster.get("InferenceService", "shop")["metadata"]["deletionTimestamp"]
    controller.settle()
    kinds = ("InferenceService", "Deployment", "Pod", "HTTPRoute")
    assert [cluster.list(kind, "default") for kind in kinds] == [[], [], [], []]


def test_no_pod_is_ready_as_soon_as_it_is_there(cluster: Cluster) -> None:
    """A round of reconciling makes it, another finds it ready; here they are done by hand."""
    install(cluster, KServe())
    controller = Controller(cluster, KServe())
    cluster.create(service())
    ready = []
    for _ in range(2):
        controller.reconcile()
        ready.append([is_ready(pod) for pod in cluster.list("Pod", "default")])
    assert ready == [[False], [True]]


def test_what_another_owns_goes_after_it(cluster: Cluster, controller: Controller) -> None:
    """Its own finalizer is waited for as well."""
    first = cluster.create(service())
    second = service()
    owner = {"apiVersion": first["apiVersion"], "kind": first["kind"], "name": "shop"}
    owners = [{**owner, "uid": first["metadata"]["uid"]}]
    second["metadata"] = {"name": "shop-candidate", "ownerReferences": owners}
    cluster.create(second)
    controller.settle()
    assert len(cluster.list("Deployment", "default")) == 2
    cluster.delete("InferenceService", "shop")
    controller.settle()
    kinds = ("InferenceService", "Deployment", "Pod", "HTTPRoute")
    assert [cluster.list(kind, "default") for kind in kinds] == [[], [], [], []]


def test_the_older_kserve_knows_no_canary(tmp_path: Path) -> None:
    """v0.15.2: the field is dropped with a warning, and the mode has its old name."""
    with (
        running("kserve-0.15.2", "gateway-api") as cluster,
        kserve_running(cluster, KServe("0.15.2")) as controller,
        connected(cluster.kubeconfig(tmp_path)) as api,
    ):
        cluster.create(service())
        controller.settle()
        custom = client.CustomObjectsApi(api)
        made, _, headers = custom.patch_namespaced_custom_object_with_http_info(
            *ISVCS, "shop", canary(20)
        )
        assert "canary" not in made["spec"]
        assert headers["Warning"] == '299 - "unknown field \\"spec.canary\\""'
        controller.settle()
        status = cluster.get("InferenceService", "shop")["status"]
        assert (status["deploymentMode"], conditions({"status": status})["Ready"]) == (
            "RawDeployment",
            "True",
        )
        assert [each["metadata"]["name"] for each in cluster.list("Deployment", "default")] == [
            "shop-predictor"
        ]
