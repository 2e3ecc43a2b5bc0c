"""Whether a Knative revision that was ready once still has pods."""

from __future__ import annotations

from rollout.kserve.cluster import Cluster
from rollout.kserve.pods import is_ready, trouble
from rollout.kserve.resources import POD, Manifest
from rollout.kserve.restarts import Restarts, still_ready
from rollout.types import Readiness, Standing

REVISION_LABEL = "serving.knative.dev/revision"
LEAST_PODS = "autoscaling.knative.dev/min-scale"
# Of a revision; "Active" is false as well of one that has no requests and so no pods.
CONDITIONS = ("ContainerHealthy", "ResourcesAvailable", "Ready")


def pods_of_revision(revision: str) -> str:
    """The labels of a revision's pods."""
    return f"{REVISION_LABEL}={revision}"


def revision_standing(cluster: Cluster, revision: Manifest, restarts: Restarts) -> Readiness:
    """How a revision stands that Knative calls the newest ready one, which it never takes back.

    Nor do its conditions say enough: Knative calls the containers of a revision healthy whenever
    that has been scaled once (``PropagateAutoscalerStatus``). Its pods say it. One that may be
    scaled to zero need have none.

    Args:
        cluster: the namespace.
        revision: the Revision.
        restarts: of its pods.
    """
    for each in (revision.get("status") or {}).get("conditions") or ():
        if each.get("type") in CONDITIONS and each.get("status") == "False":
            return Readiness(Standing.STARTING, str(each.get("message") or each.get("reason")))
    selector = pods_of_revision(revision["metadata"]["name"])
    annotations = revision["metadata"].get("annotations") or {}
    pods = cluster.list_all(POD, selector)
    ready = sum(is_ready(each.get("status") or {}) for each in pods)
    if int(annotations.get(LEAST_PODS) or 0) and not ready:
        why, _ = trouble(cluster, selector)
        seen = f"none of its {len(pods)} pods is ready"
        return Readiness(Standing.STARTING, f"{seen}: {why}" if why else seen)
    return still_ready(cluster, selector, restarts)
