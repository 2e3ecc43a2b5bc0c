"""KServe in the cluster: its webhook, and a controller that reconciles when something is written.

With it works what it relies on: pods, Knative, and a gateway that accepts routes.

    with kserve_running(cluster, KServe("0.20.0")) as controller:
        cluster.create(isvc)
        controller.settle()
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.kubernetes.cluster import Cluster, now
from tests.kubernetes.conditions import all_of, condition, dated
from tests.kubernetes.knative import GROUP, Knative
from tests.kubernetes.kserve_knative import Serverless
from tests.kubernetes.kserve_names import API, FINALIZER, MODE, KServe, Mode, mode_of
from tests.kubernetes.kserve_pods import UnsupportedError
from tests.kubernetes.kserve_standard import Standard
from tests.kubernetes.kserve_status import invalid_spec
from tests.kubernetes.kserve_webhook import Webhook
from tests.kubernetes.store import copied
from tests.kubernetes.workloads import Workloads

Object = dict[str, Any]
NAMESPACE = "kserve"


class Controller:
    """Reconciles in a thread of its own, whenever anything in the cluster has been written.

    Attributes:
        workloads: decides what becomes of pods.
        delay_s: waits so long before each round of reconciling: clients see what is between them.
        failures: what went wrong in it; a test's end finds it empty.
    """

    def __init__(self, cluster: Cluster, kserve: KServe) -> None:
        self.workloads = Workloads(cluster)
        self.delay_s = 0.005
        self.failures: list[Exception] = []
        self._cluster, self._kserve = cluster, kserve
        self._standard = Standard(cluster, kserve)
        self._serverless = Serverless(cluster)
        self._knative = Knative(cluster, kserve, self.workloads)
        self._has_knative = any(crd.group == GROUP for crd in cluster.kinds())
        self._changed = cluster.store.changed
        self._seen = -1
        self._held = self._stopping = False
        self._thread = threading.Thread(target=self._run, name="kserve-controller", daemon=True)

    def start(self) -> None:
        """Begin."""
        install(self._cluster, self._kserve)
        webhook = Webhook(self._kserve)
        self._cluster.objects.mutating.append(webhook.default)
        self._cluster.objects.validating.append(webhook.validate)
        self._thread.start()

    def close(self) -> None:
        """End; the objects stay."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """While the block runs, nothing is reconciled."""
        with self._changed:
            self._held = True
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._changed.notify_all()

    def settle(self, timeout_s: float = 60) -> None:
        """Wait until there is nothing more to do after what has been written."""
        with self._changed:
            done = self._changed.wait_for(
                lambda: bool(self.failures) or self._seen == self._cluster.store.revision, timeout_s
            )
        if self.failures:
            raise self.failures[0]
        assert done, "the controller goes on and on"

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._is_to_act)
                if self._stopping:
                    return
                revision = self._cluster.store.revision
            if self.delay_s:
                time.sleep(self.delay_s)
            try:
                self.reconcile()
            except Exception as error:  # noqa: BLE001 - the test's end tells it
                self.failures.append(error)
            with self._changed:
                self._seen = revision
                self._changed.notify_all()

    def _is_to_act(self) -> bool:
        news = self._cluster.store.revision != self._seen
        return self._stopping or (news and not self._held)

    def reconcile(self) -> None:
        """One round: each object once; nobody writes meanwhile, or sees it half done."""
        with self._changed:
            for isvc in self._cluster.list("InferenceService"):
                of = isvc["metadata"]
                # With its owner, one may have gone in this round.
                if self._cluster.get("InferenceService", of["name"], of["namespace"]):
                    self._isvc(isvc)
            self.workloads.reconcile()
            if self._has_knative:
                self._knative.reconcile()
            if self._kserve.gateway_api:
                self._accept_routes()

    def _isvc(self, isvc: Object) -> None:
        metadata = isvc["metadata"]
        finalizers = metadata.get("finalizers") or []
        if metadata.get("deletionTimestamp"):
            left = [each for each in finalizers if each != FINALIZER]
            if left != finalizers:
                self._finalized(metadata, left)
            return
        if FINALIZER not in finalizers:
            self._finalized(metadata, [*finalizers, FINALIZER])
        status = copied(isvc.get("status") or {})
        mode = self._mode(isvc)
        way = self._standard if mode is Mode.STANDARD else self._serverless
        try:
            conditions = way.reconcile(copied(isvc), status)
        except UnsupportedError as error:
            was = status.get("modelStatus") or {}
            status["modelStatus"] = invalid_spec(was, error.reason, str(error))
            conditions = [condition("PredictorReady", None), condition("IngressReady", None)]
        conditions.append(condition("Stopped", False, severity="Info"))
        ready = all_of(conditions, ("PredictorReady", "IngressReady"))
        conditions.append(condition("Ready", ready, *_why(conditions)))
        status["conditions"] = dated(conditions, status.get("conditions"), now())
        status["deploymentMode"] = self._kserve.word(mode)
        self._cluster.set_status(isvc, status)

    def _finalized(self, metadata: Object, finalizers: list[str]) -> None:
        # A patch: what others have written meanwhile is to stay.
        patch = {"metadata": {"finalizers": finalizers}}
        name, namespace = metadata["name"], metadata["namespace"]
        self._cluster.patch("InferenceService", name, patch, namespace)

    def _mode(self, isvc: Object) -> Mode:
        recorded = (isvc.get("status") or {}).get("deploymentMode")
        asked = (isvc["metadata"].get("annotations") or {}).get(MODE)
        known = {self._kserve.word(mode) for mode in Mode}
        return mode_of(recorded or (asked if asked in known else self._kserve.default_mode))

    def _accept_routes(self) -> None:
        for route in self._cluster.list("HTTPRoute"):
            was = {
                each["controllerName"]: each
                for each in (route.get("status") or {}).get("parents", ())
            }
            name = "millrace.test/gateway"
            conditions = [
                {**condition("Accepted", True, "Accepted"), "message": ""},
                {**condition("ResolvedRefs", True, "ResolvedRefs"), "message": ""},
            ]
            parent = {
                "parentRef": route["spec"]["parentRefs"][0],
                "controllerName": name,
                "conditions": dated(conditions, (was.get(name) or {}).get("conditions"), now()),
            }
            self._cluster.set_status(route, {"parents": [parent]})


def _why(conditions: list[Object]) -> tuple[str, str]:
    found = {each["type"]: each for each in conditions}
    for kind in ("PredictorReady", "IngressReady"):
        if found[kind]["status"] != "True":
            return found[kind].get("reason", ""), found[kind].get("message", "")
    return "", ""


def install(cluster: Cluster, kserve: KServe) -> None:
    """What a KServe is seen by: Deployment, ConfigMap; and a runtime for ``millrace``."""
    cluster.namespace(NAMESPACE)
    labels = {"control-plane": "kserve-controller-manager"}
    manager = {"name": "manager", "image": f"kserve/kserve-controller:v{kserve.version}"}
    cluster.put(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {
                "name": "kserve-controller-manager",
                "namespace": NAMESPACE,
                "labels": {**labels, "app.kubernetes.io/name": "kserve-controller-manager"},
            },
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [manager]}},
            },
        }
    )
    ingress = {
        "enableGatewayApi": kserve.gateway_api,
        "kserveIngressGateway": "kserve/kserve-ingress-gateway",
        "ingressDomain": kserve.domain,
        "domainTemplate": "{{ .Name }}-{{ .Namespace }}.{{ .IngressDomain }}",
        "urlScheme": "http",
    }
    deploy = {"defaultDeploymentMode": kserve.word(kserve.default_mode)}
    cluster.put(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "inferenceservice-config", "namespace": NAMESPACE},
            "data": {"deploy": json.dumps(deploy), "ingress": json.dumps(ingress)},
        }
    )
    container = {
        "name": "kserve-container",
        "image": "millrace:0.1.0",
        "ports": [
            {"name": "http1", "containerPort": 8080, "protocol": "TCP"},
            {"name": "h2c", "containerPort": 9000, "protocol": "TCP"},
        ],
    }
    cluster.put(
        {
            "apiVersion": API.replace("v1beta1", "v1alpha1"),
            "kind": "ClusterServingRuntime",
            "metadata": {"name": "millrace"},
            "spec": {
                "supportedModelFormats": [{"name": "millrace", "autoSelect": True}],
                "protocolVersions": ["v2"],
                "containers": [container],
            },
        }
    )


@contextlib.contextmanager
def kserve_running(cluster: Cluster, kserve: KServe | None = None) -> Iterator[Controller]:
    """A controller at work while the block runs; what went wrong in it is raised at the end."""
    controller = Controller(cluster, kserve or KServe())
    controller.start()
    try:
        yield controller
    finally:
        controller.close()
    if controller.failures:
        raise controller.failures[0]
