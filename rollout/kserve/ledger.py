"""Where a rollout's state is kept on a cluster: a ConfigMap beside the InferenceService."""

from __future__ import annotations

import json

from rollout.errors import ConflictError, NotFoundError, RolloutError
from rollout.kserve.cluster import Cluster
from rollout.kserve.resources import CONFIG_MAP, INFERENCE_SERVICE, Manifest
from rollout.types import Kept

KEY = "state"
# etcd's bound of an object is 1.5 MiB and a ConfigMap's 1 MiB, with its metadata.
MOST_BYTES = 900 * 1024
HISTORY = "events"  # what of the state may be cut at its older end
MANAGED_BY = {"app.kubernetes.io/managed-by": "millrace-rollout"}


class ConfigMapLedger:
    """Keeps the state of one model's rollout in the ConfigMap ``NAME-rollout``.

    Not in annotations of the InferenceService: KServe copies those to the pods, so that each change
    would make new ones. The mark of a state is the ConfigMap's ``resourceVersion``.

    Args:
        cluster: the namespace.
        service: the InferenceService; what is kept goes with it.
    """

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster = cluster
        self._service = service
        self._name = f"{service}-rollout"

    def read(self) -> Kept | None:
        """What is kept; None if nothing is."""
        found = self._cluster.find(CONFIG_MAP, self._name)
        state = ((found or {}).get("data") or {}).get(KEY)
        return None if not found or state is None else Kept(state, _mark(found))

    def write(self, state: str, revision: str | None) -> str:
        """Keep ``state`` in place of what had ``revision``; gives the new mark.

        Args:
            state: JSON; where it is too long, the older part of its history is left out.
            revision: None if there was nothing.

        Raises:
            ConflictError: somebody else wrote, or deleted it, meanwhile.
        """
        data = {KEY: within_bounds(state)}
        if revision is None:
            return _mark(self._create(data))
        patch = {"metadata": {"resourceVersion": revision}, "data": data}
        try:
            return _mark(self._cluster.patch(CONFIG_MAP, self._name, patch))
        except NotFoundError as error:
            raise ConflictError(f"somebody else deleted ConfigMap {self._name}") from error

    def _create(self, data: dict[str, str]) -> Manifest:
        metadata = {
            "name": self._name,
            "labels": MANAGED_BY,
            "ownerReferences": [owner(self._cluster.get(INFERENCE_SERVICE, self._service))],
        }
        return self._cluster.create(CONFIG_MAP, {"metadata": metadata, "data": data})


def owner(service: Manifest) -> Manifest:
    """The reference by which an object goes when its InferenceService does."""
    return {
        "apiVersion": INFERENCE_SERVICE.api_version,
        "kind": INFERENCE_SERVICE.kind,
        "name": service["metadata"]["name"],
        "uid": service["metadata"]["uid"],
    }


def is_rollouts(thing: Manifest) -> bool:
    """Whether a rollout made it, and nobody else."""
    return MANAGED_BY.items() <= (thing["metadata"].get("labels") or {}).items()


def within_bounds(state: str) -> str:
    """The state as it is, or with as much less of its oldest history as an object can take.

    Raises:
        RolloutError: what is left without any history is too long.
    """
    if len(state.encode()) <= MOST_BYTES:
        return state
    content = json.loads(state)
    history = content.get(HISTORY)
    while isinstance(history, list) and history:
        del history[: max(1, len(history) // 10)]
        shorter = json.dumps(content)
        if len(shorter.encode()) <= MOST_BYTES:
            return shorter
    raise RolloutError(f"the rollout's state is over {MOST_BYTES} bytes: shorten its plan")


def _mark(config_map: Manifest) -> str:
    return str(config_map["metadata"]["resourceVersion"])
