"""KServe's Standard mode: Deployments, Services and HTTPRoutes, after v0.20.0's reconcilers.

What v0.20.0 does not do is not done: a canary has its Deployment and its Service, and no requests.
"""

from __future__ import annotations

import math
from typing import Any

from tests.kubernetes import kserve_pods
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conditions import condition
from tests.kubernetes.kserve_names import (
    AUTOSCALER,
    COMPONENT_LABEL,
    ISVC_LABEL,
    KServe,
    host,
    passed_on,
    predictor_name,
)
from tests.kubernetes.kserve_status import model_status, raw_ready
from tests.kubernetes.workloads import owned_by

Object = dict[str, Any]
GRPC_PATH = "^/inference\\.GRPCInferenceService/.*$"


class Standard:
    """Brings an InferenceService in Standard mode one step on."""

    def __init__(self, cluster: Cluster, kserve: KServe) -> None:
        self._cluster, self._kserve = cluster, kserve

    def reconcile(self, isvc: Object, status: Object) -> list[Object]:
        """Make what is missing; fills in ``status``, gives its conditions.

        Raises:
            UnsupportedError: there is no runtime for the model.
        """
        spec = isvc["spec"]
        stable, canaries = spec["predictor"], spec.get("canary") or []
        least = stable.get("minReplicas")
        if canaries and least is not None:
            # The canaries' pods are taken off the stable version's, down to one.
            least = max(least - sum(_replicas(stable, each) for each in canaries), 1)
        deployment = self._predictor(isvc, {**stable, "minReplicas": least})
        for canary in canaries:
            merged = {**_merged(stable, canary["predictor"]), "maxReplicas": 0}
            merged["minReplicas"] = _replicas(stable, canary)
            self._predictor(isvc, merged)
        ready = raw_ready(deployment, self._kserve)
        # The Deployment's, and not the InferenceService's: so KServe has it.
        status["observedGeneration"] = (deployment.get("status") or {}).get("observedGeneration", 0)
        conditions = [ready, *self._canaries(isvc, canaries, status)]
        self._orphans(isvc, [stable, *(canary["predictor"] for canary in canaries)])
        components = status.setdefault("components", {}).setdefault("predictor", {})
        name = isvc["metadata"]["name"]
        service = deployment["metadata"]["name"]
        namespace = isvc["metadata"]["namespace"]
        if ready["status"] == "True":
            components["url"] = f"http://{host(service, namespace, self._kserve)}"
        pods = self._cluster.list("Pod", namespace, f"app=isvc.{service}")
        all_ready = ready["status"] == "True"
        status["modelStatus"] = model_status(status.get("modelStatus") or {}, pods, ready=all_ready)
        conditions.append(self._ingress(isvc, canaries, status, ready=all_ready))
        if conditions[-1]["status"] == "True":
            status["url"] = f"http://{host(name, namespace, self._kserve)}"
            status["address"] = {"url": f"http://{service}.{namespace}.svc.cluster.local"}
        return conditions

    def _predictor(self, isvc: Object, predictor: Object) -> Object:
        _, runtime = kserve_pods.runtime_of(self._cluster, isvc, predictor)
        metadata = kserve_pods.metadata(isvc, predictor, runtime)
        label = {"app": f"isvc.{metadata['name']}"}
        metadata["labels"] |= label
        spec = kserve_pods.pod_spec(isvc, predictor, runtime)
        owned = {**metadata, "ownerReferences": owned_by(isvc)}
        template = {
            "metadata": {"labels": metadata["labels"], "annotations": metadata["annotations"]},
            "spec": spec,
        }
        wanted: Object = {"selector": {"matchLabels": label}, "template": template}
        wanted["replicas"] = self._scale(metadata, predictor.get("minReplicas"))
        self._cluster.put(_service(owned, label, spec), "kserve")
        return self._cluster.put(
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": owned, "spec": wanted},
            "kserve",
        )

    def _scale(self, metadata: Object, least: int | None) -> int:
        least = 1 if least is None else least
        scaler = metadata["annotations"].get(AUTOSCALER)
        if scaler == "none":
            return least
        if scaler == "external":
            live = self._cluster.get("Deployment", metadata["name"], metadata["namespace"])
            return int(live["spec"]["replicas"]) if live else 1
        # As its HorizontalPodAutoscaler has it when nothing is to do: the least, and one at least.
        return max(least, 1)

    def _canaries(self, isvc: Object, canaries: list[Object], status: Object) -> list[Object]:
        if not self._kserve.has_canary:
            return []
        namespace, found = isvc["metadata"]["namespace"], []
        for canary in canaries:
            name = canary["predictor"]["name"]
            deployment = self._cluster.get(
                "Deployment", predictor_name(isvc["metadata"]["name"], name), namespace
            )
            available = ((deployment or {}).get("status") or {}).get("availableReplicas", 0)
            found.append(
                {
                    "name": name,
                    "ready": available > 0,
                    "trafficPercent": canary["trafficPercent"],
                    "modelStatus": {"transitionStatus": ""},  # v0.20.0 leaves it at that
                }
            )
        status.pop("canaryStatuses", None)
        if not found:
            return []
        status["canaryStatuses"] = found
        ready = all(each["ready"] for each in found)
        reason = "AllCanariesReady" if ready else "CanariesNotReady"
        return [condition("CanaryPredictorReady", ready, reason, severity="Info")]

    def _orphans(self, isvc: Object, predictors: list[Object]) -> None:
        name, namespace = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
        wanted = {predictor_name(name, each.get("name", "")) for each in predictors}
        selector = f"{ISVC_LABEL}={name},{COMPONENT_LABEL}=predictor"
        for kind, group in (("Deployment", "apps"), ("Service", "")):
            for each in self._cluster.list(kind, namespace, selector, group):
                if self._kserve.has_canary and each["metadata"]["name"] not in wanted:
                    self._cluster.delete(kind, each["metadata"]["name"], namespace, group)

    def _ingress(
        self, isvc: Object, canaries: list[Object], status: Object, *, ready: bool
    ) -> Object:
        if not self._kserve.gateway_api:
            return condition("IngressReady", True)
        if not ready:
            return condition("IngressReady", False, "Predictor ingress not created")
        name, namespace = isvc["metadata"]["name"], isvc["metadata"]["namespace"]
        service = predictor_name(name, isvc["spec"]["predictor"].get("name", ""))
        # After v0.20.0 the name of this one no longer goes with the predictor's.
        own = predictor_name(name) if self._kserve.weighs_canaries else service
        for route in (own, name):
            wanted = self._route(isvc, route, service)
            if self._kserve.weighs_canaries and canaries:
                _weigh(wanted, isvc, status)
            live = self._cluster.get("HTTPRoute", route, namespace)
            if live is None or not self._alike(wanted, live):
                self._cluster.put(wanted, "kserve")
        for route, what in ((own, "Predictor"), (name, "InferenceService")):
            live = self._cluster.get("HTTPRoute", route, namespace)
            if not (live.get("status") or {}).get("parents"):
                message = f"{what} HttpRouteNotReady"
                return condition("IngressReady", False, "ParentStatusNotAvailable", message)
        return condition("IngressReady", True)

    def _alike(self, wanted: Object, live: Object) -> bool:
        """As v0.20.0 compares: what a live route has besides goes unnoticed, backends too.

        v0.15.2 takes it all back; where nothing differs, putting it again changes nothing.
        """
        if not self._kserve.has_canary:
            return False
        if self._kserve.weighs_canaries and [
            len(rule["backendRefs"]) for rule in wanted["spec"]["rules"]
        ] != [len(rule.get("backendRefs") or ()) for rule in live["spec"]["rules"]]:
            return False
        metadata = {
            field: wanted["metadata"].get(field) or {} for field in ("labels", "annotations")
        }
        return derived(wanted["spec"], live["spec"]) and derived(metadata, live["metadata"])

    def _route(self, isvc: Object, name: str, service: str) -> Object:
        of = isvc["metadata"]
        ports = self._cluster.get("Service", service, of["namespace"], "")["spec"]["ports"]
        h2c = "kubernetes.io/h2c" if self._kserve.has_canary else "unknown to v0.15.2"
        grpc = [port["port"] for port in ports if port.get("appProtocol") == h2c]
        rest = [port["port"] for port in ports if port.get("appProtocol") != "kubernetes.io/h2c"]
        rules = []
        if grpc and rest:
            header = {"type": "RegularExpression", "name": "content-type"}
            match = {**_path(GRPC_PATH), "headers": [{**header, "value": "^application/grpc.*"}]}
            rules.append(_rule(isvc, [match], service, grpc[0]))
        rules.append(_rule(isvc, [_path("^/.*$")], service, rest[0] if grpc and rest else 80))
        metadata = {
            "name": name,
            "namespace": of["namespace"],
            "labels": of.get("labels") or {},
            "annotations": passed_on(of.get("annotations")),
            "ownerReferences": owned_by(isvc),
        }
        gateway = {
            "group": "gateway.networking.k8s.io",
            "kind": "Gateway",
            "namespace": "kserve",
            "name": "kserve-ingress-gateway",
        }
        spec = {
            "hostnames": [host(name, of["namespace"], self._kserve)],
            "parentRefs": [gateway],
            "rules": rules,
        }
        kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
        return {**kind, "metadata": metadata, "spec": spec}


def _replicas(stable: Object, canary: Object) -> int:
    own = canary["predictor"].get("minReplicas")
    if own is not None:
        return int(own)
    least: int = stable.get("minReplicas", 1)
    return math.ceil(least * int(canary["trafficPercent"]) / 100)


def _merged(stable: Any, over: Any) -> Any:
    """As mergo merges with override: what the canary does not say is the stable version's."""
    if isinstance(stable, dict) and isinstance(over, dict):
        both = {name: _merged(stable.get(name), each) for name, each in over.items()}
        return {**stable, **both}
    return stable if over in (None, "", [], {}) else over


def _service(metadata: Object, label: Object, spec: Object) -> Object:
    ports = []
    for index, port in enumerate(spec["containers"][0].get("ports") or [{"containerPort": 8080}]):
        name = port.get("name") or metadata["name"]
        entry = {
            "name": name,
            "port": 80 if index == 0 else port["containerPort"],
            "targetPort": port["containerPort"],
            "protocol": port.get("protocol", "TCP"),
        }
        if "grpc" in name or "h2c" in name:
            entry["appProtocol"] = "kubernetes.io/h2c"
        ports.append(entry)
    body = {"selector": label, "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": body}


def _path(pattern: str) -> Object:
    return {"path": {"type": "RegularExpression", "value": pattern}}


def _rule(isvc: Object, matches: list[Object], service: str, port: int) -> Object:
    of = isvc["metadata"]
    headers = [
        {"name": "KServe-Isvc-Name", "value": of["name"]},
        {"name": "KServe-Isvc-Namespace", "value": of["namespace"]},
    ]
    seconds = isvc["spec"]["predictor"].get("timeout", 60)
    backend = {"kind": "Service", "name": service, "namespace": of["namespace"], "port": port}
    return {
        "matches": matches,
        "filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": headers}}],
        "backendRefs": [backend],
        "timeouts": {"request": f"{seconds}s"},
    }


def _weigh(route: Object, isvc: Object, status: Object) -> None:
    """As ``applyCanaryWeights`` after v0.20.0: canaries that are ready have their share."""
    ready = {each["name"] for each in status.get("canaryStatuses") or () if each["ready"]}
    canaries = [each for each in isvc["spec"]["canary"] if each["predictor"]["name"] in ready]
    left = 100 - sum(each["trafficPercent"] for each in canaries)
    for rule in route["spec"]["rules"]:
        first = rule["backendRefs"][0]
        rule["backendRefs"] = [{**first, "weight": left}]
        for canary in canaries:
            name = predictor_name(isvc["metadata"]["name"], canary["predictor"]["name"])
            rule["backendRefs"].append({**first, "name": name, "weight": canary["trafficPercent"]})


def derived(wanted: Any, live: Any) -> bool:
    """``DeepDerivative`` of apimachinery: is all that is set in ``wanted`` so in ``live``."""
    if isinstance(wanted, dict):
        live = live or {}
        return all(derived(each, live.get(name)) for name, each in wanted.items() if each)
    if isinstance(wanted, list):
        live = live or []
        return len(wanted) <= len(live) and all(map(derived, wanted, live))
    return bool(wanted == live)
