"""A kustomize overlay for one model, sized by ``sizing``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from millrace.sizing import Sizing

Patch = dict[str, Any]

MODEL, NAMESPACE = "classifier", "millrace"  # as the base and its components have them
# By what pods are given: the component, and the resource of one device.
DEVICES = {
    "nvidia": ("gpu-nvidia", "nvidia.com/gpu"),
    "amd": ("gpu-amd", "amd.com/gpu"),
    "cpu": ("cpu", None),
}
GPU_SETTING = {"nvidia": "cuda", "amd": "rocm"}
AUTOSCALING = {"none": None, "keda": "autoscaling-keda", "knative": "autoscaling-knative"}


def _in_rules(field: str, rules: Patch, place: int) -> Patch:
    # Between the first quotes of each expression is the namespace, between the next the model.
    target = {
        "select": {"kind": "PrometheusRule"} | rules,
        "fieldPaths": ["spec.groups.*.rules.*.expr"],
        "options": {"delimiter": '"', "index": place},
    }
    return {"source": {"kind": "InferenceService", "fieldPath": field}, "targets": [target]}


# Alerts ask about one namespace, and what is missed is one model.
ABSENT = "millrace-absent"
RULES = [
    _in_rules("metadata.namespace", {}, 1),
    _in_rules("metadata.name", {"name": ABSENT}, 3),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the overlay is to say.

    Attributes:
        name: of the model, and so of the InferenceService.
        namespace: that it lives in.
        storage_uri: where KServe finds the package.
        package_sha256: of its manifest; pods refuse any other.
        image: with a tag or a digest or neither; None leaves it as the components have it, whose
            tag goes with the device.
        device: one of ``DEVICES``.
        instances: devices of a pod; 0 on CPUs.
        cores: of a pod.
        autoscaling: one of ``AUTOSCALING``.
        least_pods: where it scales.
        components: others of manifests/components.
    """

    name: str
    namespace: str
    storage_uri: str
    package_sha256: str
    image: str | None
    device: str
    instances: int
    cores: int
    autoscaling: str
    least_pods: int
    components: tuple[str, ...]


def write_overlay(folder: Path, manifests: Path, wanted: Wanted, sizing: Sizing, why: str) -> None:
    """Write ``folder`` with its kustomization and its namespace.

    Args:
        folder: is made where it is not there.
        manifests: the folder of base and components.
        wanted: what it is to say.
        sizing: how many pods, and of what size.
        why: how it came about, in comments; the first lines.
    """
    folder.mkdir(parents=True, exist_ok=True)
    up = Path(os.path.relpath(manifests.resolve(), folder.resolve()))
    queries = _queries(manifests) if wanted.autoscaling == "keda" else []
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": wanted.namespace,
        "resources": [str(up / "base"), "namespace.yaml"],
        "components": [str(up / "components" / name) for name in _components(wanted)],
        **({"images": [_image(wanted.image)]} if wanted.image else {}),
        "patches": _patches(wanted, sizing, queries),
        **({"replacements": RULES} if "monitoring" in wanted.components else {}),
    }
    text = yaml.safe_dump(content, sort_keys=False, width=100)
    (folder / "kustomization.yaml").write_text(why + text, encoding="utf-8")
    (folder / "namespace.yaml").write_text(_namespace(wanted.namespace), encoding="utf-8")


def _components(wanted: Wanted) -> list[str]:
    scaling = AUTOSCALING[wanted.autoscaling]
    chosen = [DEVICES[wanted.device][0], *([scaling] if scaling else []), *wanted.components]
    if wanted.autoscaling == "knative" and "monitoring" in wanted.components:
        chosen.append("monitoring-knative")
    return list(dict.fromkeys(chosen))


def _image(image: str) -> dict[str, str]:
    name, at, digest = image.partition("@")
    if at:
        return {"name": "millrace", "newName": name, "digest": digest}
    # A port's colon stands before the last slash.
    path, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return {"name": "millrace", "newName": path, "newTag": tag}
    return {"name": "millrace", "newName": name}


def _settings(wanted: Wanted, sizing: Sizing) -> list[Patch]:
    # By a patch: whether a generator here wins over a component's is up to kustomize's version.
    settings = {"MILLRACE_FRONTENDS": str(sizing.frontends)}
    if wanted.instances > 1:
        kind = GPU_SETTING[wanted.device]
        devices = ",".join(f"{kind}:{number}" for number in range(wanted.instances))
        settings["MILLRACE_DEVICES"] = devices
        if wanted.device == "amd":
            visible = ",".join(map(str, range(wanted.instances)))
            settings |= {f"{name}_VISIBLE_DEVICES": visible for name in ("ROCR", "HIP")}
    return [_set(f"/data/{name}", value) for name, value in settings.items()]


def _patches(wanted: Wanted, sizing: Sizing, queries: list[str]) -> list[Patch]:
    scales = wanted.autoscaling != "none"
    resources = {"cpu": str(wanted.cores), "memory": f"{sizing.memory_gib}Gi"}
    device = DEVICES[wanted.device][1]
    if device:
        resources[device] = str(wanted.instances)
    service = [
        _set("/metadata/name", wanted.name),
        _set("/spec/predictor/model/runtime", _own(wanted)),
        _set("/spec/predictor/minReplicas", wanted.least_pods if scales else sizing.pods),
        _set(
            "/spec/predictor/model/resources",
            {"requests": dict(resources), "limits": dict(resources)},
        ),
    ]
    if "registry" not in wanted.components:  # an alias says which package
        service += [
            _set(
                "/spec/predictor/model/env/-",
                {"name": "MILLRACE_PACKAGE_SHA256", "value": wanted.package_sha256},
            ),
            _set("/spec/predictor/model/storageUri", wanted.storage_uri),
        ]
    if wanted.autoscaling == "knative":
        service += [
            _set("/spec/predictor/maxReplicas", sizing.pods),
            _set("/spec/predictor/scaleTarget", sizing.concurrency),
        ]
    patches = [
        _patch("InferenceService", service),
        _patch("ConfigMap", _settings(wanted, sizing), "millrace-settings"),
        *_own_objects(wanted),
    ]
    if "monitoring" in wanted.components:
        patches.append(
            _patch("PrometheusRule", [_set("/metadata/name", f"{ABSENT}-{wanted.name}")], ABSENT)
        )
    if wanted.autoscaling == "keda":
        patches.append(_patch("ScaledObject", _scaled(wanted, sizing, queries)))
    return patches


def _own(wanted: Wanted) -> str:
    return f"millrace-{wanted.name}"


def _own_objects(wanted: Wanted) -> list[Patch]:
    # Shared by models of a namespace, the last one applied would win for all of them.
    named = _set("/metadata/name", _own(wanted))
    services = "matchExpressions/0/values"  # the base names its own there
    names = [wanted.name, f"{wanted.name}-candidate"]
    return [
        _patch("ServingRuntime", [named]),
        _patch("NetworkPolicy", [named, _set(f"/spec/podSelector/{services}", names)]),
        _patch("PodDisruptionBudget", [named, _set(f"/spec/selector/{services}", names)]),
    ]


def _scaled(wanted: Wanted, sizing: Sizing, queries: list[str]) -> list[Patch]:
    named = [
        _set(f"/spec/triggers/{place}/metadata/query", _of(query, wanted))
        for place, query in enumerate(queries)
    ]
    return [
        _set("/metadata/name", wanted.name),
        _set("/spec/scaleTargetRef/name", f"{wanted.name}-predictor"),
        _set("/spec/minReplicaCount", wanted.least_pods),
        _set("/spec/maxReplicaCount", sizing.pods),
        _set("/spec/fallback/replicas", max(wanted.least_pods, sizing.pods // 2)),
        *named,
        _set("/spec/triggers/1/metadata/threshold", str(sizing.queue)),
    ]


def _of(query: str, wanted: Wanted) -> str:
    """A query of the base's model as one of this model in its namespace."""
    query = query.replace(f'model="{MODEL}"', f'model="{wanted.name}"')
    return query.replace(f'namespace="{NAMESPACE}"', f'namespace="{wanted.namespace}"')


def _queries(manifests: Path) -> list[str]:
    file = manifests / "components" / "autoscaling-keda" / "scaledobject.yaml"
    triggers = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["triggers"]
    return [trigger["metadata"]["query"] for trigger in triggers]


def _set(path: str, value: object) -> Patch:
    # `add` of a JSON patch replaces what is there.
    return {"op": "add", "path": path, "value": value}


def _patch(kind: str, operations: list[Patch], name: str | None = None) -> Patch:
    return {
        "target": {"kind": kind} | ({"name": name} if name else {}),
        "options": {"allowNameChange": True},
        "patch": yaml.safe_dump(operations, sort_keys=False, width=1000),
    }


def _namespace(name: str) -> str:
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    metadata = {"name": name, "labels": labels}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    return yaml.safe_dump(namespace, sort_keys=False)
