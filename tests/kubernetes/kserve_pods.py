"""What KServe makes of a predictor: metadata, pod template; after ``components/predictor.go``."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.kserve_names import (
    COMPONENT_LABEL,
    CONTAINER,
    ISVC_LABEL,
    STORAGE_URI,
    passed_on,
    predictor_name,
)

Object = dict[str, Any]


class UnsupportedError(Exception):
    """No ServingRuntime takes the model; ``reason`` is what the status says.

    Attributes:
        reason: of ``lastFailureInfo``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def metadata(isvc: Object, predictor: Object, runtime: Object) -> Object:
    """Of Deployment, Service, revision and pods: labels and annotations go on to them."""
    of = isvc["metadata"]
    annotations = {
        **(runtime.get("annotations") or {}),
        **passed_on(of.get("annotations")),
        **passed_on(predictor.get("annotations")),
    }
    uri = (predictor.get("model") or {}).get("storageUri")
    if uri:
        annotations[STORAGE_URI] = uri
    labels = {
        **(runtime.get("labels") or {}),
        **(of.get("labels") or {}),
        **(predictor.get("labels") or {}),
        ISVC_LABEL: of["name"],
        COMPONENT_LABEL: "predictor",
    }
    name = predictor_name(of["name"], predictor.get("name", ""))
    return {
        "name": name,
        "namespace": of["namespace"],
        "labels": labels,
        "annotations": annotations,
    }


def runtime_of(cluster: Cluster, isvc: Object, predictor: Object) -> tuple[str, Object]:
    """The name and spec of the ServingRuntime that takes the predictor's model.

    Raises:
        UnsupportedError: there is none.
    """
    model = predictor.get("model")
    if model is None:
        return "", {}
    namespace = isvc["metadata"]["namespace"]
    wanted = model.get("runtime")
    runtimes = [
        *cluster.list("ServingRuntime", namespace),
        *cluster.list("ClusterServingRuntime"),
    ]
    if wanted:
        found = [each for each in runtimes if each["metadata"]["name"] == wanted]
        if not found:
            raise UnsupportedError(
                "RuntimeNotRecognized", "Waiting for runtime to become available"
            )
    else:
        found = [each for each in runtimes if _takes(each["spec"], model)]
        if not found:
            raise UnsupportedError(
                "NoSupportingRuntime", "No runtime found to support specified framework/version"
            )
    return found[0]["metadata"]["name"], found[0]["spec"]


def _takes(runtime: Object, model: Object) -> bool:
    wanted = (model.get("modelFormat") or {}).get("name")
    return any(
        each["name"] == wanted and each.get("autoSelect")
        for each in runtime.get("supportedModelFormats") or ()
    )


def pod_spec(isvc: Object, predictor: Object, runtime: Object) -> Object:
    """Of the pods: the runtime's containers, with what the model says of its own.

    Its arguments come after the runtime's, as ``MergeRuntimeContainers`` has it.
    """
    containers = copy.deepcopy(runtime.get("containers") or predictor.get("containers") or [])
    model = predictor.get("model") or {}
    first = containers[0]
    first.setdefault("name", CONTAINER)
    for field in ("image", "resources", "readinessProbe"):
        if field in model:
            first[field] = copy.deepcopy(model[field])
    args = [*(first.get("args") or []), *(model.get("args") or [])]
    if args:
        first["args"] = copy.deepcopy(args)
    named = {"name": "INFERENCE_SERVICE_NAME", "value": isvc["metadata"]["name"]}
    first["env"] = [*(first.get("env") or []), *(model.get("env") or []), named]
    spec: Object = {"containers": containers}
    for field in ("serviceAccountName", "terminationGracePeriodSeconds", "nodeSelector"):
        if field in predictor:
            spec[field] = predictor[field]
    return spec
