"""Pods, as Kubernetes makes them of Deployments: they start, and become ready or do not."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Any

from tests.kubernetes.cluster import Cluster, now
from tests.kubernetes.conditions import condition, dated
from tests.kubernetes.kserve_names import CONTAINER, STORAGE_URI

Object = dict[str, Any]
HASH = "pod-template-hash"


class Fate(StrEnum):
    """What becomes of pods with a model."""

    READY = "ready"
    WAITING = "waiting"  # it loads; not ready yet
    CRASHING = "crashing"  # the container ends again and again
    NO_IMAGE = "no image"  # there is none of that name
    NO_MODEL = "no model"  # the storage initializer finds none
    TIMED_OUT = "timed out"  # as waiting, and progressDeadlineSeconds have gone by


class Workloads:
    """Deployments' pods; what becomes of them goes by the URI of their model."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._fates: dict[str, Fate] = {}
        self._restarts: dict[str, int] = {}  # by the pod's name

    def set_fate(self, storage_uri: str, fate: Fate, deployment: str = "") -> None:
        """From now on, for the pods there are and those to come; of one Deployment, or of all."""
        with self._cluster.store.changed:
            self._fates[f"isvc.{deployment} {storage_uri}" if deployment else storage_uri] = fate
            self._write()

    def restart(self, pod: str) -> None:
        """Its container runs out of memory, and is started again at once."""
        with self._cluster.store.changed:
            self._restarts[pod] = self._restarts.get(pod, 0) + 1
            self._write()

    def _write(self) -> None:
        """Whoever reconciles looks again at every write: this is one."""
        told = [*self._fates.items(), *self._restarts.items()]
        data = {str(i): f"{name} {what}" for i, (name, what) in enumerate(told)}
        metadata = {"name": "fates", "namespace": "kube-system"}
        kind = {"apiVersion": "v1", "kind": "ConfigMap"}
        self._cluster.put({**kind, "metadata": metadata, "data": data})

    def fate(self, template: Object) -> Fate:
        """Of pods by this template."""
        uri = (template["metadata"].get("annotations") or {}).get(STORAGE_URI, "")
        app = (template["metadata"].get("labels") or {}).get("app", "")
        return self._fates.get(f"{app} {uri}", self._fates.get(uri, Fate.READY))

    def reconcile(self) -> None:
        """Bring every Deployment one step on."""
        for deployment in self._cluster.list("Deployment"):
            self._deployment(deployment)

    def _deployment(self, deployment: Object) -> None:
        metadata, spec = deployment["metadata"], deployment["spec"]
        mark = digest(spec["template"])
        labels = spec["selector"]["matchLabels"]
        wanted = spec.get("replicas", 1)
        pods = self.have(deployment, spec["template"], {**labels, HASH: mark}, wanted, mark)
        ready = sum(map(is_ready, pods))
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        old = [
            pod
            for pod in self._cluster.list("Pod", metadata["namespace"], selector)
            if pod["metadata"]["labels"][HASH] != mark
        ]
        if ready >= wanted:
            for pod in old:
                self._cluster.delete("Pod", pod["metadata"]["name"], metadata["namespace"])
            old = []
        available = ready + sum(map(is_ready, old))
        fate = self.fate(spec["template"])
        counts = {
            "observedGeneration": metadata["generation"],
            "replicas": len(pods) + len(old),
            "updatedReplicas": len(pods),
            "readyReplicas": available,
            "availableReplicas": available,
            "unavailableReplicas": max(wanted - available, 0),
        }
        conditions = _conditions(metadata["name"], mark, available, wanted, ready, fate)
        was = (deployment.get("status") or {}).get("conditions")
        counts = {name: value for name, value in counts.items() if value}
        self._cluster.set_status(deployment, {**counts, "conditions": _updated(conditions, was)})

    def have(
        self, owner: Object, template: Object, labels: Object, wanted: int, mark: str
    ) -> list[Object]:
        """The owner's pods by this template, as many as wanted, as far as they have come."""
        namespace = owner["metadata"]["namespace"]
        fate = self.fate(template)
        pods = []
        for index in range(wanted):
            name = f"{owner['metadata']['name']}-{mark}-{index}"
            pod = self._cluster.get("Pod", name, namespace)
            come = fate
            if pod is None:
                # No pod is ready as soon as it is there: that is for the next round.
                pod = self._cluster.create(_pod(owner, template, labels, name))
                come = Fate.WAITING if fate is Fate.READY else fate
            status = _pod_status(pod, come, self._restarts.get(name, 0))
            pods.append(self._cluster.set_status(pod, status))
        selector = ",".join(f"{key}={value}" for key, value in labels.items())
        for pod in self._cluster.list("Pod", namespace, selector):
            if pod["metadata"]["name"] not in {each["metadata"]["name"] for each in pods}:
                self._cluster.delete("Pod", pod["metadata"]["name"], namespace)
        return pods


def digest(template: Object) -> str:
    """Tells one template from another."""
    text = json.dumps(template, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:10]


def is_ready(pod: Object) -> bool:
    """Whether it takes requests."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def owned_by(owner: Object) -> list[Object]:
    """The ownerReferences of what a controller makes for ``owner``."""
    metadata = owner["metadata"]
    named = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"]}
    return [{**named, "uid": metadata["uid"], "controller": True, "blockOwnerDeletion": True}]


def _pod(owner: Object, template: Object, labels: Object, name: str) -> Object:
    metadata = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": {**(template["metadata"].get("labels") or {}), **labels},
        "annotations": template["metadata"].get("annotations") or {},
        "ownerReferences": owned_by(owner),
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def _pod_status(pod: Object, fate: Fate, restarts: int) -> Object:
    ready = fate is Fate.READY
    conditions = [
        condition("Initialized", fate is not Fate.NO_MODEL),
        condition("ContainersReady", ready, "" if ready else "ContainersNotReady"),
        condition("Ready", ready, "" if ready else "ContainersNotReady"),
        condition("PodScheduled", True),
    ]
    was = (pod.get("status") or {}).get("conditions")
    image = pod["spec"]["containers"][0].get("image", "")
    status: Object = {
        "phase": "Pending" if fate in (Fate.NO_IMAGE, Fate.NO_MODEL) else "Running",
        "conditions": dated(conditions, was, now()),
        "containerStatuses": [
            {
                "name": pod["spec"]["containers"][0]["name"],
                "image": image,
                "imageID": "",
                "ready": ready,
                "restartCount": 3 if fate is Fate.CRASHING else restarts,
                **_container_state(fate, image, restarts),
            }
        ],
    }
    if fate is Fate.NO_MODEL:
        status["initContainerStatuses"] = [
            {
                "name": "storage-initializer",
                "image": "kserve/storage-initializer",
                "imageID": "",
                "ready": False,
                "restartCount": 2,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                "lastState": {"terminated": _ended("RuntimeError: Failed to fetch model.")},
            }
        ]
    return status


def _container_state(fate: Fate, image: str, restarts: int) -> Object:
    if fate is Fate.CRASHING:
        message = f"back-off 40s restarting failed container={CONTAINER}"
        waiting = {"reason": "CrashLoopBackOff", "message": message}
        return {"state": {"waiting": waiting}, "lastState": {"terminated": _ended("no such model")}}
    if fate is Fate.NO_IMAGE:
        message = f'Back-off pulling image "{image}"'
        return {"state": {"waiting": {"reason": "ImagePullBackOff", "message": message}}}
    if fate is Fate.NO_MODEL:
        return {"state": {"waiting": {"reason": "PodInitializing"}}}
    if restarts:
        ended = {"exitCode": 137, "reason": "OOMKilled"}
        return {"state": {"running": {}}, "lastState": {"terminated": ended}}
    return {"state": {"running": {}}}


def _ended(message: str) -> Object:
    return {"exitCode": 1, "reason": "Error", "message": message}


def _conditions(
    name: str, mark: str, available: int, wanted: int, ready: int, fate: Fate
) -> list[Object]:
    enough = available >= wanted
    found = [
        condition(
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        )
    ]
    replica_set = f'ReplicaSet "{name}-{mark}"'
    if ready >= wanted:
        reason, message = "NewReplicaSetAvailable", f"{replica_set} has successfully progressed."
        found.append(condition("Progressing", True, reason, message))
    elif fate is Fate.TIMED_OUT:
        message = f"{replica_set} has timed out progressing."
        found.append(condition("Progressing", False, "ProgressDeadlineExceeded", message))
    else:
        message = f"{replica_set} is progressing."
        found.append(condition("Progressing", True, "ReplicaSetUpdated", message))
    return found


def _updated(conditions: list[Object], was: list[Object] | None) -> list[Object]:
    found = dated(conditions, was, now())
    # Deployments say when they looked as well; here, when it last changed.
    return [{**each, "lastUpdateTime": each["lastTransitionTime"]} for each in found]
