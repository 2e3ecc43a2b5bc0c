"""What an InferenceService was before a rollout changed it, kept until the rollout has ended."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

from rollout.errors import ConflictError, RolloutError
from rollout.kserve.cluster import Cluster
from rollout.kserve.ledger import MANAGED_BY, owner
from rollout.kserve.resources import CONFIG_MAP, Manifest
from rollout.kserve.source import source_of

KEY = "before"
# Of the predictor, beside where its pods load from, what a rollout changes for its time.
SCALE_KEYS = ("minReplicas", "maxReplicas")


@dataclass(frozen=True, slots=True)
class Before:
    """What is to be put back.

    Attributes:
        stable: the version that was served.
        candidate: the version whose rollout it is.
        predictor_name: of ``spec.predictor``; empty if it had none.
        source: what of ``predictor.model`` said which version.
        scale: its ``minReplicas`` and ``maxReplicas``, where it had them.
        tag_routing: KServe's annotation of that name; None if it had none.
        ending: it is being withdrawn, and nobody may give it a share any more.
        mark: tells this rollout from another one of the same candidate.
    """

    stable: str
    candidate: str
    predictor_name: str
    source: Manifest
    scale: Manifest
    tag_routing: str | None = None
    ending: bool = False
    mark: str = ""

    def rescale(self, predictor: Manifest) -> None:
        """Let a predictor have as many pods as it was to have; in place."""
        for key in SCALE_KEYS:
            predictor.pop(key, None)
        predictor.update(self.scale)


def scale_of(predictor: Manifest) -> Manifest:
    """What ``Before.scale`` is."""
    return {key: predictor[key] for key in SCALE_KEYS if key in predictor}


class Memory:
    """Keeps one ``Before`` in the ConfigMap ``NAME-rollout-before``, beside the ledger.

    Args:
        cluster: the namespace.
        service: the InferenceService; what is kept goes with it.
    """

    def __init__(self, cluster: Cluster, service: str) -> None:
        self._cluster = cluster
        self._name = f"{service}-rollout-before"

    def read(self) -> Before | None:
        """What is kept; None if nothing is."""
        found = self._cluster.find(CONFIG_MAP, self._name)
        if found is None:
            return None
        try:
            before = Before(**json.loads(found["data"][KEY]))
        except (KeyError, TypeError, ValueError) as error:
            raise RolloutError(
                f"ConfigMap {self._name} is not as a rollout wrote it: delete it if no rollout is "
                "under way and the InferenceService is as it should be"
            ) from error
        return replace(before, mark=str(found["metadata"]["uid"]))

    def keep(self, service: Manifest, stable: str, candidate: str) -> Before:
        """Keep what ``service`` is now, unless something is kept; gives what is."""
        predictor = service["spec"]["predictor"]
        annotations = service["metadata"].get("annotations") or {}
        before = Before(
            stable=stable,
            candidate=candidate,
            predictor_name=predictor.get("name", ""),
            source=source_of(predictor),
            scale=scale_of(predictor),
            tag_routing=annotations.get("serving.kserve.io/enable-tag-routing"),
        )
        metadata = {
            "name": self._name,
            "labels": MANAGED_BY,
            "ownerReferences": [owner(service)],
        }
        data = {KEY: json.dumps(asdict(before))}
        try:
            made = self._cluster.create(CONFIG_MAP, {"metadata": metadata, "data": data})
        except ConflictError:
            found = self.read()
            if found is None:
                raise
            return found
        return replace(before, mark=str(made["metadata"]["uid"]))

    def end(self, before: Before) -> None:
        """From now on ``demand`` refuses: whoever is slow gives the candidate nothing any more."""
        if not before.ending:
            kept = replace(before, ending=True, mark="")
            patch = {"data": {KEY: json.dumps(asdict(kept))}}
            self._cluster.patch(CONFIG_MAP, self._name, patch)

    def demand(self, before: Before) -> None:
        """The rollout must be under way still; asked between reading an object and writing it.

        Raises:
            ConflictError: somebody else has ended it.
        """
        found = self.read()
        if found is None or found.ending or found.mark != before.mark:
            raise ConflictError(
                f"the rollout of version {before.candidate} was ended by somebody else meanwhile"
            )

    def forget(self) -> None:
        """Nothing is to be put back any more."""
        self._cluster.delete(CONFIG_MAP, self._name)
