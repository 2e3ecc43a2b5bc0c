"""Whether pods that took requests have started again: what they had is lost, their counts too."""

from __future__ import annotations

from rollout.kserve.cluster import Cluster
from rollout.kserve.pods import is_ready, trouble, what_ended
from rollout.kserve.resources import POD
from rollout.types import Readiness, Standing


class Restarts:
    """Of a candidate's pods, since it was given its present share.

    Of a pod that was not ready yet they are no matter: it had no requests. Each process that
    carries the rollout out begins with what it finds.

    Args:
        cluster: the namespace.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._had: dict[str, int] = {}  # restarts, by the pod's uid

    def begin(self, selector: str) -> None:
        """Count from now on.

        Args:
            selector: the labels of the candidate's pods.
        """
        self._had = {}
        self.told(selector)

    def told(self, selector: str) -> str:
        """Which pod has started again, and why; empty if none has."""
        for pod in self._cluster.list_all(POD, selector):
            uid, status = pod["metadata"]["uid"], pod.get("status") or {}
            containers = status.get("containerStatuses") or []
            count = sum(int(each.get("restartCount") or 0) for each in containers)
            if uid in self._had and count > self._had[uid]:
                ends = [why for each in containers if (why := what_ended(each))]
                return ": ".join([f"pod {pod['metadata']['name']} has started again", *ends])
            if is_ready(status):
                self._had.setdefault(uid, count)
        return ""


def still_ready(cluster: Cluster, selector: str, restarts: Restarts) -> Readiness:
    """How a candidate stands of which some pods are ready.

    Args:
        cluster: the namespace.
        selector: the labels of its pods.
        restarts: of them.
    """
    why = restarts.told(selector)
    if not why:
        said, in_vain = trouble(cluster, selector)
        why = said if in_vain else ""
    return Readiness(Standing.STARTING, why) if why else Readiness(Standing.READY)
