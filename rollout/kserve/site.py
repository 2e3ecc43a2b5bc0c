"""One InferenceService on a cluster, and what every way of rolling it out has to know of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from rollout.errors import NotFoundError, RolloutError, UnreachableError
from rollout.kserve.before import Before, Memory
from rollout.kserve.cluster import Cluster
from rollout.kserve.resources import INFERENCE_SERVICE, SERVING_RUNTIME, Manifest
from rollout.kserve.source import Sources, put_source
from rollout.types import Route, Version


@dataclass(frozen=True, slots=True)
class Site:
    """An InferenceService.

    Attributes:
        cluster: its namespace.
        name: of it, which is the model's name in URLs.
        sources: where versions lie.
        address: of the gateway, ``http://10.0.0.7:8080``; None: its host names can be resolved.
    """

    cluster: Cluster
    name: str
    sources: Sources
    address: str | None = None

    @property
    def what(self) -> str:
        """``InferenceService shop/classifier``."""
        return f"InferenceService {self.cluster.namespace}/{self.name}"

    @property
    def memory(self) -> Memory:
        """What was before."""
        return Memory(self.cluster, self.name)

    def read(self) -> Manifest:
        """The InferenceService as it is.

        Raises:
            NotFoundError: there is none; says which there are.
        """
        try:
            return self.cluster.get(INFERENCE_SERVICE, self.name)
        except NotFoundError as error:
            others = sorted(
                each["metadata"]["name"] for each in self.cluster.list_all(INFERENCE_SERVICE)
            )
            there = ", ".join(others) or "none at all"
            raise NotFoundError(f"there is no {self.what}; in its namespace: {there}") from error

    def change(self, edit: Callable[[Manifest], None]) -> Manifest:
        """Edit it, see ``Cluster.change``."""
        return self.cluster.change(INFERENCE_SERVICE, self.name, edit)

    def stable(self) -> str:
        """The version that is served: during a rollout the one that was there before it."""
        before = self.memory.read()
        return before.stable if before else self.version(self.read())

    def version(self, service: Manifest) -> str:
        """The version that its predictor says."""
        predictor = service["spec"]["predictor"]
        try:
            return self.sources.version(predictor, self._runtime_args(predictor))
        except RolloutError as error:
            raise RolloutError(f"{self.what}: {error}") from error

    def begin(self, candidate: Version, withdraw: Callable[[Version], None]) -> Before:
        """Keep what is there before a rollout, if that has not been done.

        Args:
            candidate: of the rollout that begins.
            withdraw: ends a rollout that somebody has left unfinished.

        Raises:
            RolloutError: the candidate is what is served.
        """
        before = self.memory.read()
        if before and (before.ending or before.candidate != candidate.version):
            old = before.candidate
            withdraw(Version(candidate.name, old, f"models:/{candidate.name}/{old}"))
            before = None
        if before:
            return before
        service = self.read()
        stable = self.version(service)
        if stable == candidate.version:
            raise RolloutError(f"version {stable} is what {self.what} serves already")
        return self.memory.keep(service, stable, candidate.version)

    def before(self, candidate: Version) -> Before | None:
        """What was there before this candidate; None where it is not rolled out."""
        before = self.memory.read()
        return before if before and before.candidate == candidate.version else None

    def demand_before(self, candidate: Version) -> Before:
        """The same.

        Raises:
            NotFoundError: it is not rolled out.
        """
        before = self.before(candidate)
        if before is None:
            raise NotFoundError(f"{self.what} has no candidate {candidate.version}: launch it")
        return before

    def serves(self, service: Manifest, candidate: Version) -> bool:
        """Whether its predictor is that of a candidate, for which no registry has to be asked."""
        try:
            return self.sources.serves(service["spec"]["predictor"], candidate)
        except RolloutError as error:
            raise RolloutError(f"{self.what}: {error}") from error

    def change_under(self, before: Before, edit: Callable[[Manifest], None]) -> Manifest:
        """The same as ``change``, if the rollout is still under way when it is written."""

        def edit_under(service: Manifest) -> None:
            self.memory.demand(before)
            edit(service)

        return self.change(edit_under)

    def serving(self, service: Manifest, candidate: Version) -> Manifest:
        """The predictor of an InferenceService, as it is with the candidate; a copy."""
        predictor: Manifest = copy.deepcopy(service["spec"]["predictor"])
        self.sources.serve(predictor, candidate)
        return predictor

    def restore(self, service: Manifest, candidate: Version, before: Before) -> None:
        """Let an InferenceService be what it was, as far as a rollout has changed it; in place."""
        try:
            changed = self.serves(service, candidate)
        except RolloutError:  # by a plan that says nothing of where versions lie
            changed = True
        predictor = service["spec"]["predictor"]
        if changed:
            put_source(predictor, before.source)
        before.rescale(predictor)

    def in_cluster(self, service: str) -> Route:
        """The model at a Kubernetes Service, whose name the cluster alone can resolve."""
        host = f"{service}.{self.cluster.namespace}.svc.cluster.local"
        return Route(f"http://{host}/v2/models/{self.name}")

    def own_address(self, service: Manifest) -> Route:
        """The address that KServe gave the InferenceService.

        Raises:
            UnreachableError: it has none yet.
        """
        url = (service.get("status") or {}).get("url")
        if not url:
            raise UnreachableError(f"{self.what} has no address yet: it is not ready")
        return self.at_gateway(str(url))

    def at_gateway(self, url: str) -> Route:
        """The model at a host name that the gateway knows.

        Args:
            url: with that host name.
        """
        parts = urlsplit(url)
        path = f"{parts.path.rstrip('/')}/v2/models/{self.name}"
        if self.address is None:
            return Route(f"{parts.scheme}://{parts.netloc}{path}")
        return Route(f"{self.address.rstrip('/')}{path}", {"Host": parts.netloc})

    def _runtime_args(self, predictor: Manifest) -> list[str]:
        model = predictor.get("model") or {}
        if model.get("storageUri") or not model.get("runtime"):
            return []
        runtime = self.cluster.find(SERVING_RUNTIME, model["runtime"])
        containers = runtime["spec"]["containers"] if runtime else [{}]
        return [str(each) for each in containers[0].get("args") or ()]
