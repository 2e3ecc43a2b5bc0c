"""What kustomize makes of a folder of manifests, and what KServe makes of that."""

from __future__ import annotations

import copy
import functools
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]

MANIFESTS = Path(__file__).parents[2] / "manifests"
# Ours; `millrace manifests` may have written others beside them.
OVERLAYS = ("local", "production", "staging", "talk")
COMPONENTS = tuple(sorted(folder.name for folder in (MANIFESTS / "components").iterdir()))
TOOLS = ("kubectl", "kustomize")
SERVICE = "serving.kserve.io/inferenceservice"  # KServe's label of whose pods they are


@functools.cache
def build(folder: Path) -> tuple[Object, ...]:
    """The objects of one kustomization; where there is no kustomize the test is skipped."""
    tool = next(filter(shutil.which, TOOLS), None)
    if tool is None:
        pytest.skip("neither kubectl nor kustomize is here: install kubectl")
    command = [tool, "kustomize"] if tool == "kubectl" else [tool, "build"]
    ran = subprocess.run([*command, folder], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return tuple(yaml.load_all(ran.stdout, yaml.CSafeLoader))


def overlay(name: str) -> tuple[Object, ...]:
    """The objects of one of the overlays."""
    return build(MANIFESTS / "overlays" / name)


def with_components(folder: Path, *components: str, on: str = "base") -> tuple[Object, ...]:
    """The base, or another folder, with components; ``folder`` is a temporary one."""
    top = folder / "overlay"
    shutil.copytree(MANIFESTS, folder / "manifests", dirs_exist_ok=True)
    top.mkdir()
    listed = "".join(f"  - ../manifests/components/{name}\n" for name in components)
    text = f"namespace: test\nresources:\n  - ../manifests/{on}\ncomponents:\n{listed}"
    (top / "kustomization.yaml").write_text(text, encoding="utf-8")
    return build(top)


def only(objects: Iterable[Object], kind: str, name: str | None = None) -> Object:
    """The one object of a kind."""
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind and name in (None, each["metadata"]["name"])
    )
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes a pod; of expressions ours have `In` alone."""
    expressions = selector.get("matchExpressions", ())
    assert {each["operator"] for each in expressions} <= {"In"}
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in expressions
    )


def kinds(objects: Iterable[Object]) -> set[str]:
    """The kinds of some objects."""
    return {each["kind"] for each in objects}


def deployments(objects: Iterable[Object]) -> list[Object]:
    """Every Deployment among the objects, and those that KServe makes of its InferenceServices."""
    objects = list(objects)
    found = [each for each in objects if each["kind"] == "Deployment"]
    for service in (each for each in objects if each["kind"] == "InferenceService"):
        predictors = [service["spec"]["predictor"]]
        predictors += [each["predictor"] for each in service["spec"].get("canary", ())]
        for predictor in predictors:
            runtime = only(objects, "ServingRuntime", predictor["model"]["runtime"])
            found.append(_deployment(service, predictor, runtime))
    return found


# Of a predictor, what is the pod's; the rest is KServe's own or the container's.
KSERVES = ("canaryTrafficPercent", "containerConcurrency", "deploymentStrategy", "maxReplicas")
KSERVES += ("minReplicas", "model", "name", "scaleMetric", "scaleTarget", "timeout")
MODELS = ("modelFormat", "protocolVersion", "runtime", "storageUri")


def _deployment(service: Object, predictor: Object, runtime: Object) -> Object:
    """As KServe's buildPodSpec: the runtime's container with what `model` says laid over it."""
    name = service["metadata"]["name"]
    (container,) = copy.deepcopy(runtime["spec"]["containers"])
    for key, value in predictor["model"].items():
        if key not in MODELS:
            container[key] = value
    container["args"] = [each.replace("{{.Name}}", name) for each in container["args"]]
    pod = {key: value for key, value in predictor.items() if key not in KSERVES}
    pod |= {"containers": [container], "volumes": runtime["spec"].get("volumes", [])}
    labels = {
        **service["metadata"].get("labels", {}),
        SERVICE: name,
        "component": "predictor",
    }
    parts = (name, predictor.get("name"), "predictor")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "-".join(part for part in parts if part),
            "namespace": service["metadata"].get("namespace", "default"),
            "labels": labels,
        },
        "spec": {
            "replicas": _replicas(service, predictor),
            "selector": {"matchLabels": labels},
            "strategy": predictor.get("deploymentStrategy", {"type": "RollingUpdate"}),
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _replicas(service: Object, predictor: Object) -> int:
    """KServe takes a canary's pods from the stable predictor's, of which one is left at least."""
    if predictor is not service["spec"]["predictor"]:
        return int(predictor["minReplicas"])
    canaries = (each["predictor"]["minReplicas"] for each in service["spec"].get("canary", ()))
    return max(1, int(predictor["minReplicas"]) - sum(canaries))


def knative_service(objects: Iterable[Object]) -> Object:
    """The Knative Service that KServe makes of the InferenceService in its Knative mode."""
    objects = list(objects)
    predictor = only(objects, "InferenceService")["spec"]["predictor"]
    (deployment,) = deployments(objects)
    pod = copy.deepcopy(deployment["spec"]["template"]["spec"])
    pod |= {
        "containerConcurrency": predictor["containerConcurrency"],
        "timeoutSeconds": predictor["timeout"],
    }
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": deployment["metadata"],
        "spec": {"template": {"spec": pod}},
    }
