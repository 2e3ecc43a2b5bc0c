"""How the pods that KServe or Knative made of a predictor are getting on."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.kserve.cluster import Cluster
from rollout.kserve.resources import DEPLOYMENT, POD, Manifest
from rollout.kserve.source import loads
from rollout.types import Readiness, Standing

# A pod that has ended so often will not come up by itself; the kubelet waits longer each time.
MOST_RESTARTS = 3


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of one Deployment.

    Attributes:
        wanted: how many there are to be.
        ready: how many take requests.
        settled: all that are wanted are ready, and are those of the newest template.
        template: what the pods are made of.
        problem: why there will not be more by waiting; empty if that is not known.
    """

    wanted: int
    ready: int
    settled: bool
    template: Manifest
    problem: str


def pods_of(deployment: str) -> str:
    """The labels of a Deployment's pods."""
    return f"app=isvc.{deployment}"


def find_pods(cluster: Cluster, deployment: str) -> Pods | None:
    """The pods of a Deployment, or None while KServe has not made it."""
    found = cluster.find(DEPLOYMENT, deployment)
    if found is None:
        return None
    status = found.get("status") or {}
    wanted = int(found["spec"].get("replicas", 1))
    ready = int(status.get("availableReplicas") or 0)
    settled = (
        status.get("observedGeneration", 0) >= found["metadata"].get("generation", 0)
        and int(status.get("updatedReplicas") or 0) == int(status.get("replicas") or 0) == wanted
        and ready >= wanted
    )
    return Pods(wanted, ready, settled, found["spec"]["template"], _stuck(status))


def standing(cluster: Cluster, deployment: str, least: int) -> Readiness:
    """How far a Deployment's pods have come on the way to ``least`` of them."""
    pods = find_pods(cluster, deployment)
    if pods is None:
        return Readiness(Standing.STARTING, f"KServe has not made Deployment {deployment} yet")
    if pods.ready >= least:
        return Readiness(Standing.READY)
    seen = f"{pods.ready} of {least} pods are ready"
    if pods.problem:
        return Readiness(Standing.FAILED, f"{seen}: {pods.problem}")
    why, hopeless = trouble(cluster, pods_of(deployment))
    reason = f"{seen}: {why}" if why else seen
    return Readiness(Standing.FAILED if hopeless else Standing.STARTING, reason)


def hopeless(cluster: Cluster, deployment: str, predictor: Manifest) -> str:
    """Why a Deployment's pods with what ``predictor`` loads will not come; empty if they may."""
    pods = find_pods(cluster, deployment)
    if pods is not None and pods.problem:
        return pods.problem
    why, in_vain = trouble(cluster, pods_of(deployment), predictor)
    return why if in_vain else ""


def _stuck(status: Manifest) -> str:
    for each in status.get("conditions") or ():
        failed = each.get("status") == "False" and each.get("type") == "Progressing"
        if failed and each.get("reason") == "ProgressDeadlineExceeded":
            return str(each.get("message") or each["reason"])
    return ""


def trouble(cluster: Cluster, selector: str, predictor: Manifest | None = None) -> tuple[str, bool]:
    """What a pod that is not ready says of itself, and whether it has tried often enough.

    Args:
        cluster: the namespace.
        selector: the labels of the pods.
        predictor: only those that load what it says; None: all.
    """
    first = ""
    for pod in cluster.list_all(POD, selector):
        status = pod.get("status") or {}
        if is_ready(status) or not (predictor is None or loads(pod, predictor)):
            continue
        why, in_vain = _trouble_of(status)
        said = f"{pod['metadata']['name']}: {why}"
        if in_vain:
            return said, True
        first = first or (said if why else "")
    return first, False


def _trouble_of(status: Manifest) -> tuple[str, bool]:
    for key in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(key) or ():
            why = _why(container)
            if why:
                return why, int(container.get("restartCount") or 0) >= MOST_RESTARTS
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", "")), False
    return "", False


def is_ready(status: Manifest) -> bool:
    """Whether a pod of this status takes requests."""
    conditions = status.get("conditions") or ()
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def what_ended(container: Manifest) -> str:
    """How a container ended the last time; empty if it never has."""
    ended = (container.get("lastState") or {}).get("terminated") or {}
    if not ended:
        return ""
    reason = str(ended.get("reason") or "Error")
    message = " ".join(str(ended.get("message") or "").split())[-300:]
    told = [f"exited with {ended.get('exitCode')}", "" if reason == "Error" else reason, message]
    return " ".join(each for each in told if each)


def _why(container: Manifest) -> str:
    waiting = (container.get("state") or {}).get("waiting") or {}
    ended = what_ended(container)
    if waiting.get("reason") in (None, "ContainerCreating", "PodInitializing") and not ended:
        return ""
    parts = [f"{container['name']} {waiting.get('reason', 'restarts')}"]
    if ended:
        parts.append(ended)
    elif waiting.get("message"):
        parts.append(" ".join(str(waiting["message"]).split())[:300])
    return ", ".join(parts)
