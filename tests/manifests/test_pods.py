"""The pods that come of the manifests, against what the predictor does."""

from __future__ import annotations

import pytest

from predictor.processes import KILL_AFTER_S
from predictor.settings import Settings, read_settings
from predictor.supervisor import SETTLE_S
from tests.manifests.kustomize import (
    COMPONENTS,
    OVERLAYS,
    deployments,
    only,
    overlay,
    with_components,
)

FOR_RUNTIMES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "MIOPEN_")
ROUTES = {
    "livenessProbe": "/v2/health/live",
    "readinessProbe": "/v2/health/ready",
    "startupProbe": "/v2/health/ready",
}


def pods(objects):
    """Each pod's spec, its container, and the settings it gets, by the setting's name."""
    found = []
    for deployment in deployments(objects):
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        names = [e["configMapRef"]["name"] for e in container["envFrom"] if "configMapRef" in e]
        data = [each["data"] for each in objects if each["metadata"]["name"] in names]
        variables = {name: value for each in data for name, value in each.items()}
        variables |= {
            each["name"]: each.get("value", "from-a-secret") for each in container.get("env", ())
        }
        found.append((pod, container, variables))
    return found


def read(variables, arguments=()):
    """The settings as the predictor would read them; what is meant for runtimes is left out."""
    flags = {}
    for name, value in variables.items():
        if not name.startswith(FOR_RUNTIMES):
            assert name.startswith("MILLRACE_"), name
            flags[name.removeprefix("MILLRACE_").lower()] = value
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        flags[name] = value
    return read_settings(**flags)


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_setting_exists_and_is_within_its_bounds(name):
    """Read by the predictor's own settings; also the flags that KServe passes."""
    for _, container, variables in pods(overlay(name)):
        settings = read(variables, container.get("args", ()))

        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["http"] == settings.http_port
        assert ports.get("grpc", settings.grpc_port) == settings.grpc_port
        assert settings.model_name == "classifier"
        assert str(settings.model_dir) == "/mnt/models"


@pytest.mark.parametrize("name", COMPONENTS)
def test_every_setting_of_a_component_exists(name, tmp_path):
    """The same, of the base with each component."""
    for _, container, variables in pods(with_components(tmp_path, name)):
        assert isinstance(read(variables, container["args"]), Settings)


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_pod_is_left_the_time_that_its_drain_takes(name):
    """Else what has been accepted is lost when the kubelet kills it."""
    for pod, _, variables in pods(overlay(name)):
        settings = read(variables)
        # The frontends have that time, then they and the instances a while to exit.
        drain_s = settings.drain_delay_s + SETTLE_S + settings.drain_timeout_s + 2 * KILL_AFTER_S

        assert pod["terminationGracePeriodSeconds"] >= drain_s
        # Endpoints are withdrawn within seconds everywhere but in very large clusters.
        assert settings.drain_delay_s >= 5


def test_knative_leaves_a_pod_that_time_by_its_timeout(tmp_path):
    """It has no grace period of its own."""
    objects = with_components(tmp_path, "autoscaling-knative")
    predictor = only(objects, "InferenceService")["spec"]["predictor"]
    ((_, _, variables),) = pods(objects)
    settings = read(variables)

    drain_s = settings.drain_delay_s + SETTLE_S + settings.drain_timeout_s + 2 * KILL_AFTER_S
    assert predictor["timeout"] >= drain_s


@pytest.mark.parametrize("name", OVERLAYS)
def test_probes_ask_what_the_protocol_page_has(name):
    """On the port that is served, and slower to kill than the supervisor is to repair."""
    for _, container, variables in pods(overlay(name)):
        settings = read(variables, container.get("args", ()))
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, route in ROUTES.items():
            asked = container[probe]["httpGet"]
            assert asked["path"] == route
            assert ports.get(asked["port"], asked["port"]) == settings.http_port
        start, live = container["startupProbe"], container["livenessProbe"]
        # On a CPU the first instance starts alone and the others after it.
        assert start["periodSeconds"] * start["failureThreshold"] > 2 * settings.startup_timeout_s
        assert live["periodSeconds"] * live["failureThreshold"] > 3 * settings.hang_timeout_s


@pytest.mark.parametrize("name", OVERLAYS)
def test_pods_have_no_rights_that_they_do_not_need(name):
    """What the restricted Pod Security Standard asks for, and a root that is read-only."""
    for pod, container, _ in pods(overlay(name)):
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 10_000
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        writable = [
            each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")
        ]
        assert writable == ["/tmp"]
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        # But on one machine, where the cluster itself takes most of the cores.
        assert name == "local" or resources["requests"] == resources["limits"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_the_files_in_memory_fit_into_the_pod(name):
    """/tmp counts as the pod's memory, and is bounded well below it."""
    units = {"Mi": 2**20, "Gi": 2**30}

    def size(text):
        return int(text[:-2]) * units[text[-2:]]

    for pod, container, _ in pods(overlay(name)):
        volumes = {each["name"]: each for each in pod["volumes"]}
        tmp = volumes["tmp"]["emptyDir"]
        assert tmp["medium"] == "Memory"
        assert size(tmp["sizeLimit"]) <= size(container["resources"]["limits"]["memory"]) / 4


def test_an_amd_pod_gets_its_gpu_and_the_groups_of_its_files(tmp_path):
    """By AMD's names for all of it."""
    ((pod, container, variables),) = pods(with_components(tmp_path, "gpu-amd"))

    assert container["resources"]["limits"]["amd.com/gpu"] == "1"
    assert pod["securityContext"]["supplementalGroups"] == [44, 109]
    assert variables["MILLRACE_DEVICES"] == "rocm:0"
    assert variables["ROCR_VISIBLE_DEVICES"] == variables["HIP_VISIBLE_DEVICES"] == "0"


def test_the_repositorys_token_comes_from_a_secret_and_nowhere_else(tmp_path):
    """No token stands in any file."""
    ((_, container, _),) = pods(with_components(tmp_path, "repository-token"))

    (token,) = container["env"]
    assert token["name"] == "MILLRACE_REPOSITORY_TOKEN"
    assert token["valueFrom"] == {"secretKeyRef": {"name": "millrace-repository", "key": "token"}}


def test_a_pod_that_follows_a_registry_has_all_that_it_takes(tmp_path):
    """An alias in place of a storageUri, a cache that it can write, and tokens out of a Secret."""
    objects = with_components(tmp_path, "registry")
    service = only(objects, "InferenceService")["spec"]["predictor"]["model"]
    ((pod, container, variables),) = pods(objects)
    settings = read(variables, container["args"])
    (mount,) = (each for each in container["volumeMounts"] if each["name"] == "cache")
    (volume,) = (each for each in pod["volumes"] if each["name"] == "cache")

    assert "storageUri" not in service
    assert str(settings.model_dir) == "models:/classifier@champion"
    assert settings.follow
    assert settings.registry.startswith("http://mlflow.")
    assert str(settings.cache) == mount["mountPath"]
    assert volume["emptyDir"]["sizeLimit"]
    secrets = [each["secretRef"] for each in service["envFrom"] if "secretRef" in each]
    assert secrets == [{"name": "millrace-registry", "optional": True}]
