"""KServe's Knative (Serverless) mode: one Knative Service, and the shares of its revisions.

After ``ksvc_reconciler.go``, the same in v0.15.2 and v0.20.0.
"""

from __future__ import annotations

from typing import Any

from tests.kubernetes import kserve_pods
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conditions import condition
from tests.kubernetes.knative import GROUP
from tests.kubernetes.kserve_names import REVISION_LABEL, TAGS
from tests.kubernetes.kserve_status import knative_component, model_status
from tests.kubernetes.workloads import owned_by

Object = dict[str, Any]
ROLLOUT = "serving.knative.dev/rollout-duration"


class Serverless:
    """Brings an InferenceService in Knative mode one step on."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def reconcile(self, isvc: Object, status: Object) -> list[Object]:
        """Make what is missing; fills in ``status``, gives its conditions.

        Raises:
            UnsupportedError: there is no runtime for the model.
        """
        predictor = isvc["spec"]["predictor"]
        _, runtime = kserve_pods.runtime_of(self._cluster, isvc, predictor)
        components = status.setdefault("components", {})
        was = components.get("predictor") or {}
        service = self._cluster.put(_service(isvc, predictor, runtime, was), "kserve")
        found = {each["type"]: each for each in (service.get("status") or {}).get("conditions", ())}
        component = knative_component(was, service)
        components["predictor"] = component
        # The Knative Service's, and not the InferenceService's: so KServe has it.
        status["observedGeneration"] = (service.get("status") or {}).get("observedGeneration", 0)
        conditions = [
            _as("PredictorReady", found.get("Ready")),
            _as("PredictorRouteReady", found.get("RoutesReady"), severity="Info"),
            _as("PredictorConfigurationReady", found.get("ConfigurationsReady"), severity="Info"),
        ]
        routes, configurations = conditions[1]["status"], conditions[2]["status"]
        conditions += [
            _cross("RoutesReady", routes, "PredictorRouteReady"),
            _cross("LatestDeploymentReady", configurations, "PredictorConfigurationReady"),
        ]
        ready = conditions[0]["status"] == "True"
        created = component.get("latestCreatedRevision", "")
        selector = f"{REVISION_LABEL}={created}"
        pods = self._cluster.list("Pod", isvc["metadata"]["namespace"], selector) if created else []
        loaded = ready and created == component.get("latestReadyRevision")
        status["modelStatus"] = model_status(status.get("modelStatus") or {}, pods, ready=loaded)
        conditions.append(self._ingress(isvc, component, status))
        return conditions

    def _ingress(self, isvc: Object, component: Object, status: Object) -> Object:
        if "url" not in component:
            return condition("IngressReady", None)
        status["url"] = component["url"].replace("-predictor", "", 1)
        name, namespace = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
        status["address"] = {"url": f"http://{name}.{namespace}.svc.cluster.local"}
        return condition("IngressReady", True)


def _as(kind: str, other: Object | None, *, severity: str = "") -> Object:
    if other is None:
        return condition(kind, None, severity=severity)
    status = {"True": True, "False": False}.get(other["status"])
    return condition(
        kind, status, other.get("reason", ""), other.get("message", ""), severity=severity
    )


def _cross(kind: str, word: str, of: str) -> Object:
    status = {"True": True, "False": False}.get(word)
    return condition(kind, status, "" if status else f"{of} not ready", severity="Info")


def _service(isvc: Object, predictor: Object, runtime: Object, component: Object) -> Object:
    metadata = kserve_pods.metadata(isvc, predictor, runtime)
    annotations = dict(metadata["annotations"])
    if "minReplicas" in predictor:
        annotations["autoscaling.knative.dev/min-scale"] = str(predictor["minReplicas"])
    if predictor.get("maxReplicas"):
        annotations["autoscaling.knative.dev/max-scale"] = str(predictor["maxReplicas"])
    kept = {ROLLOUT: annotations.pop(ROLLOUT)} if ROLLOUT in annotations else {}
    spec = kserve_pods.pod_spec(isvc, predictor, runtime)
    if "timeout" in predictor:
        spec["timeoutSeconds"] = spec["responseStartTimeoutSeconds"] = predictor["timeout"]
    if "containerConcurrency" in predictor:
        spec["containerConcurrency"] = predictor["containerConcurrency"]
    # Knative takes one port, and no grace period of the pods'.
    spec["containers"][0]["ports"] = (spec["containers"][0].get("ports") or [])[:1]
    spec.pop("terminationGracePeriodSeconds", None)
    own = {
        "name": metadata["name"],
        "namespace": metadata["namespace"],
        "labels": metadata["labels"],
        "annotations": kept,
        "ownerReferences": owned_by(isvc),
    }
    template = {
        "metadata": {"labels": metadata["labels"], "annotations": annotations},
        "spec": spec,
    }
    traffic = traffic_of(predictor, annotations, component)
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Service",
        "metadata": own,
        "spec": {"template": template, "traffic": traffic},
    }


def traffic_of(predictor: Object, annotations: Object, component: Object) -> list[Object]:
    """``createKnativeService``: a share for the latest, the rest for what was last rolled out."""
    share, rolled_out = (
        predictor.get("canaryTrafficPercent"),
        component.get("latestRolledoutRevision"),
    )
    tag = {"tag": "latest"} if annotations.get(TAGS) == "true" else {}
    if share is None or not rolled_out:
        return [{"latestRevision": True, "percent": 100, **tag}]
    latest = {"latestRevision": True, "percent": share, **tag}
    if share >= 100:
        return [latest]
    rest = {"latestRevision": False, "revisionName": rolled_out, "percent": 100 - share}
    return [latest, {**rest, "tag": "prev"}]
