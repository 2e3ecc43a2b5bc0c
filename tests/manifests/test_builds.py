"""Every overlay and every component builds, and an API server would take what comes out."""

from __future__ import annotations

import copy
import itertools

import pytest
import yaml

from tests.manifests.kustomize import (
    COMPONENTS,
    MANIFESTS,
    OVERLAYS,
    build,
    deployments,
    kinds,
    knative_service,
    only,
    overlay,
    selects,
    with_components,
)
from tests.manifests.schemas import problems


def refused(objects):
    """What an API server would refuse of some objects and of the pods that come of them."""
    return [problem for each in (*objects, *deployments(objects)) for problem in problems(each)]


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_api_server_takes_every_object_of_an_overlay(name):
    """And of the Deployments that KServe makes of it."""
    assert refused(overlay(name)) == []


@pytest.mark.parametrize("name", COMPONENTS)
def test_an_api_server_takes_the_base_with_each_component(name, tmp_path):
    """On its own, as the README has it."""
    assert refused(with_components(tmp_path, name)) == []


@pytest.mark.parametrize(
    "names",
    [
        ("gpu-nvidia", "canary", "monitoring"),
        ("gpu-nvidia", "cpu-gpu-split", "topology-spread"),
        ("gpu-amd", "autoscaling-keda", "preload", "monitoring", "repository-token"),
        ("cpu", "autoscaling-knative", "topology-spread"),
    ],
    ids="+".join,
)
def test_components_go_together(names, tmp_path):
    """Those that people would want at a time."""
    assert refused(with_components(tmp_path, *names)) == []


def test_the_cluster_wide_runtime_is_the_namespaced_one():
    """But for its kind."""
    (runtime,) = build(MANIFESTS / "runtime")
    (cluster,) = build(MANIFESTS / "cluster-runtime")

    assert problems(cluster) == []
    assert cluster == runtime | {"kind": "ClusterServingRuntime"}


def test_a_fresh_clusters_gateway_is_the_one_that_routes_name(tmp_path):
    """And an API server takes it."""
    objects = build(MANIFESTS / "gateway")
    gateway, gateway_class = only(objects, "Gateway"), only(objects, "GatewayClass")
    routes = [
        each
        for place, names in enumerate((("canary",), ("gpu-nvidia", "cpu-gpu-split")))
        for each in with_components(_new(tmp_path / str(place)), *names)
        if each["kind"] in ("HTTPRoute", "GRPCRoute")
    ]

    assert [problem for each in objects for problem in problems(each)] == []
    assert gateway["spec"]["gatewayClassName"] == gateway_class["metadata"]["name"]
    assert len(routes) == 3
    parents = [each for route in routes for each in route["spec"]["parentRefs"]]
    assert parents == [{key: gateway["metadata"][key] for key in ("name", "namespace")}] * 3


def _new(folder):
    folder.mkdir()
    return folder


def test_the_pod_that_holds_the_volume_is_taken_too():
    """Applied on its own (docs/operations.md), to the overlay's namespace and claim."""
    folder = MANIFESTS / "overlays" / "local"
    pod = yaml.safe_load((folder / "store-pod.yaml").read_text(encoding="utf-8"))
    (claim,) = (each["persistentVolumeClaim"]["claimName"] for each in pod["spec"]["volumes"])

    assert problems(pod) == []
    namespace = only(overlay("local"), "Namespace")["metadata"]["name"]
    assert pod["metadata"]["namespace"] == namespace
    assert claim == only(overlay("local"), "PersistentVolumeClaim")["metadata"]["name"]


def test_what_an_api_server_refuses_is_refused_here():
    """A wrong field, deep inside, of one of ours and of one of Kubernetes'."""
    objects = copy.deepcopy(overlay("production"))
    only(objects, "InferenceService")["spec"]["predictor"]["model"]["storageURL"] = "s3://x"
    only(objects, "NetworkPolicy")["spec"]["podSelectors"] = {}

    found = refused(objects)

    assert any("storageURL" in problem for problem in found)
    assert any("podSelectors" in problem for problem in found)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_changed_setting_rolls_the_pods(name):
    """The settings' hashed name is the one that pods refer to."""
    objects = overlay(name)
    names = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}

    for deployment in deployments(objects):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        referred = [each["configMapRef"]["name"] for each in container["envFrom"]]
        assert set(referred) <= names
        assert all(name.rsplit("-", 1)[0] == "millrace-settings" for name in referred)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_name_that_an_object_refers_to_is_there(name):
    """Service accounts, runtimes, and the labels that select pods."""
    objects = overlay(name)
    accounts = {each["metadata"]["name"] for each in objects if each["kind"] == "ServiceAccount"}
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in deployments(objects)]

    for deployment in deployments(objects):
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] in accounts
    for kind, path in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        selector = only(objects, kind)["spec"][path]
        assert all(selects(selector, each) for each in labels)
    for service in (each for each in objects if each["kind"] == "InferenceService"):
        runtime = service["spec"]["predictor"]["model"]["runtime"]
        assert runtime == only(objects, "ServingRuntime")["metadata"]["name"]


def test_a_canary_is_the_stable_pod_with_another_package(tmp_path):
    """With the same GPU; and its route leads to the Services that KServe makes."""
    objects = with_components(tmp_path, "gpu-amd", "canary")
    stable, canary = deployments(objects)
    route = only(objects, "HTTPRoute")["spec"]["rules"][0]["backendRefs"]

    assert stable["spec"]["template"]["spec"] == canary["spec"]["template"]["spec"]
    predictors = only(objects, "InferenceService")["spec"]
    uris = {
        each["model"]["storageUri"]
        for each in (predictors["predictor"], predictors["canary"][0]["predictor"])
    }
    assert len(uris) == 2
    assert [each["name"] for each in route] == [
        each["metadata"]["name"] for each in (stable, canary)
    ]
    assert [each["weight"] for each in route] == [
        100 - predictors["canary"][0]["trafficPercent"],
        predictors["canary"][0]["trafficPercent"],
    ]


def test_stagings_stable_version_has_two_pods_beside_the_canary():
    """KServe takes the canary's from the number that is asked for."""
    replicas = {
        each["metadata"]["name"]: each["spec"]["replicas"]
        for each in deployments(overlay("staging"))
    }

    assert replicas == {"classifier-predictor": 2, "classifier-canary-predictor": 1}


def test_a_canary_gets_its_share_over_grpc_too(tmp_path):
    """With the same weights, at the Services' gRPC port, by another host name."""
    objects = with_components(tmp_path, "gpu-nvidia", "canary")
    http, grpc = only(objects, "HTTPRoute")["spec"], only(objects, "GRPCRoute")["spec"]
    (container,) = only(objects, "ServingRuntime")["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    shares = [
        [(each["name"], each["weight"]) for each in route["rules"][0]["backendRefs"]]
        for route in (http, grpc)
    ]

    assert shares[0] == shares[1]
    assert {each["port"] for each in grpc["rules"][0]["backendRefs"]} == {ports["grpc"]}
    assert set(http["hostnames"]).isdisjoint(grpc["hostnames"])


def test_a_gpu_component_leaves_the_cpu_half_of_a_split_alone(tmp_path):
    """The GPU goes to one of the two, the settings differ, and the weights are of a hundred."""
    objects = with_components(tmp_path, "gpu-nvidia", "cpu-gpu-split")
    by_name = {each["metadata"]["name"]: each for each in deployments(objects)}
    limits = {
        name: each["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
        for name, each in by_name.items()
    }
    steps = only(objects, "InferenceGraph")["spec"]["nodes"]["root"]["steps"]

    assert limits["classifier-predictor"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in limits["classifier-cpu-predictor"]
    devices = {
        each["metadata"]["name"].rsplit("-", 1)[0]: each["data"]["MILLRACE_DEVICES"]
        for each in objects
        if each["kind"] == "ConfigMap"
    }
    assert devices == {"millrace-settings": "cuda:0", "millrace-settings-cpu": "cpu"}
    assert sum(step["weight"] for step in steps) == 100
    assert {f"{step['serviceName']}-predictor" for step in steps} == set(by_name)
    images = {
        name: each["spec"]["template"]["spec"]["containers"][0]["image"]
        for name, each in by_name.items()
    }
    assert images == {
        "classifier-predictor": "millrace:0.1.0-cuda",
        "classifier-cpu-predictor": "millrace:0.1.0",
    }


def test_a_graph_has_a_name_and_a_way_in_of_its_own(tmp_path):
    """KServe makes a Service of its name, which no InferenceService may have."""
    objects = with_components(tmp_path, "gpu-nvidia", "cpu-gpu-split")
    graph = only(objects, "InferenceGraph")["metadata"]["name"]
    (rule,) = only(objects, "HTTPRoute")["spec"]["rules"]

    assert graph not in {e["metadata"]["name"] for e in objects if e["kind"] == "InferenceService"}
    assert [each["name"] for each in rule["backendRefs"]] == [graph]


def test_the_cpu_half_runs_as_the_other_does(tmp_path):
    """The second runtime is the first, but for the image and for who selects it."""
    objects = with_components(tmp_path, "cpu-gpu-split")
    runtime, cpu = (
        only(objects, "ServingRuntime", n)["spec"] for n in ("millrace", "millrace-cpu")
    )

    own = "supportedModelFormats"
    assert cpu == runtime | {own: [{"name": "millrace", "version": "1", "autoSelect": False}]}


def test_knative_takes_what_kserve_makes_of_it(tmp_path):
    """It knows fewer fields of a pod than Kubernetes, one port, and no other names for that."""
    objects = with_components(tmp_path, "gpu-amd", "autoscaling-knative", "topology-spread")
    service = knative_service(objects)
    (port,) = only(objects, "ServingRuntime")["spec"]["containers"][0]["ports"]
    annotations = only(objects, "InferenceService")["metadata"]["annotations"]

    assert problems(service) == []
    assert port["name"] == "http1"
    assert annotations["serving.kserve.io/deploymentMode"] == "Knative"


def test_keda_and_kserve_do_not_both_scale(tmp_path):
    """KServe is told that somebody else does, and KEDA scales the Deployment that KServe makes."""
    objects = with_components(tmp_path, "autoscaling-keda")
    (deployment,) = deployments(objects)
    annotations = only(objects, "InferenceService")["metadata"]["annotations"]
    scaled = only(objects, "ScaledObject")["spec"]

    assert annotations["serving.kserve.io/autoscalerClass"] == "external"
    assert scaled["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


def test_keda_counts_the_models_of_its_own_namespace_only():
    """Another namespace may have a model of that name, such as staging's."""
    scaled = only(overlay("production"), "ScaledObject")
    namespace = scaled["metadata"]["namespace"]

    for trigger in scaled["spec"]["triggers"]:
        query = trigger["metadata"]["query"]
        asked = query.count("millrace_")
        assert query.count(f'{{namespace="{namespace}",model="classifier"') == asked > 0


def test_the_cache_on_the_nodes_lies_where_kserves_agent_writes(tmp_path):
    """On the nodes that have the agent, by the path that it mounts; and not by default."""
    objects = with_components(tmp_path, "preload")
    group = only(objects, "LocalModelNodeGroup")
    volume = group["spec"]["persistentVolumeSpec"]
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    labels = {each["key"]: each["values"] for each in term["matchExpressions"]}

    assert volume["local"] == {"path": "/models"}
    assert labels == {"kserve/localmodel": ["worker"], "millrace/model-cache": ["true"]}
    cache = only(objects, "LocalModelNamespaceCache")["spec"]
    assert cache["nodeGroups"] == [group["metadata"]["name"]]
    assert "LocalModelNodeGroup" not in kinds(overlay("production"))


def test_the_talks_deployment_keeps_the_talks_numbers():
    """24 pods of a GPU and 8 cores, container port 28282 at node port 30001."""
    objects = overlay("talk")
    deployment, service = only(objects, "Deployment"), only(objects, "Service")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert "InferenceService" not in kinds(objects)
    assert deployment["spec"]["replicas"] == 24
    assert container["resources"]["limits"] == {"cpu": "8", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert [port["containerPort"] for port in container["ports"]] == [28282]
    assert [(port["nodePort"], port["targetPort"]) for port in service["spec"]["ports"]] == [
        (30001, container["ports"][0]["name"])
    ]
    settings = only(objects, "ConfigMap")["data"]
    assert settings["MILLRACE_HTTP_PORT"] == "28282"
    assert only(objects, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"] == 28282


def test_components_go_with_the_talks_deployment_too(tmp_path):
    """Those that change pods, and the monitoring, which finds its Service."""
    names = ("monitoring", "repository-token")
    objects = with_components(tmp_path, *names, on="overlays/talk")
    service, monitor = only(objects, "Service"), only(objects, "ServiceMonitor")["spec"]
    (container,) = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"]

    assert refused(objects) == []
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["endpoints"]] == [
        port["name"] for port in service["spec"]["ports"]
    ]
    assert "MILLRACE_REPOSITORY_TOKEN" in {each["name"] for each in container["env"]}


def test_the_readme_shows_the_tree_that_there_is():
    """manifests/README.md against the folders."""
    text = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    folders = itertools.chain(COMPONENTS, OVERLAYS, ("base", "common", "gateway", "runtime"))

    assert [name for name in folders if f" {name} " not in text and f" {name}/" not in text] == []


def test_the_local_pod_fits_beside_the_cluster_on_two_cores():
    """The cluster's own pods ask for most of them; a new pod comes when the old one has gone."""
    (deployment,) = deployments(overlay("local"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    assert container["resources"]["requests"]["cpu"] == "500m"
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}


def test_the_talks_claim_can_be_filled_and_read_from_all_nodes():
    """By a class of shared files, which is named; the pods themselves mount it read-only."""
    objects = overlay("talk")
    claim = only(objects, "PersistentVolumeClaim")
    (pod,) = (each["spec"]["template"]["spec"] for each in deployments(objects))
    (volume,) = (each for each in pod["volumes"] if "persistentVolumeClaim" in each)

    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["spec"]["storageClassName"]
    assert volume["persistentVolumeClaim"] == {
        "claimName": claim["metadata"]["name"],
        "readOnly": True,
    }
