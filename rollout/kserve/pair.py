"""Standard mode of a KServe without ``spec.canary``: a second InferenceService beside the first."""

from __future__ import annotations

import copy

from rollout.errors import ConflictError, NotFoundError, RolloutError, UnfinishedError
from rollout.kserve.before import Before
from rollout.kserve.canary import NOT_A_CANARYS
from rollout.kserve.ledger import MANAGED_BY, is_rollouts, owner
from rollout.kserve.resources import INFERENCE_SERVICE, Manifest
from rollout.kserve.routes import Routes
from rollout.kserve.site import Site
from rollout.kserve.standard import (
    AUTOSCALER,
    Services,
    StandardParts,
    keep_pods,
    predictor_service,
    share_of,
)
from rollout.types import Readiness, Route, Standing, Version

# Of the stable one's metadata, what is no concern of a copy.
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def candidate_name(service: str) -> str:
    """Of the second InferenceService."""
    return f"{service}-candidate"


class PairPlace:
    """The candidate is an InferenceService ``NAME-candidate``; routes share requests out by weight.

    Args:
        site: the InferenceService.
        routes: by which clients come.
    """

    def __init__(self, site: Site, routes: Routes) -> None:
        self._site = site
        self._routes = routes
        self._parts = StandardParts(site, routes)
        self._second = candidate_name(site.name)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self._site.what} (Standard mode, with a second InferenceService)"

    def stable(self) -> str:
        """The version that is served now."""
        return self._site.stable()

    def launch(self, candidate: Version) -> None:
        """Make the second InferenceService, with one pod and no requests."""
        service = self._site.read()
        self._demand_free()
        self._parts.demand_way(service, self._services(service))
        before = self._site.begin(candidate, self.withdraw)
        if self._found(candidate) is None:  # somebody may have taken it away
            self._parts.take_back(self._services(service), before)
        try:
            self._site.cluster.create(INFERENCE_SERVICE, self._copy(service, candidate))
        except ConflictError as error:
            self._demand_made(candidate, error)

    def readiness(self, candidate: Version) -> Readiness:
        """As its pods are; requests can be sent to it alone then."""
        before = self._site.before(candidate)
        if before is None or self._found(candidate) is None:
            return Readiness(Standing.ABSENT)
        service = self._site.read()
        services = self._services(service)
        found = self._parts.standing(services)
        if found.standing is not Standing.READY:
            return found
        self._parts.demand_way(service, services)
        if not self._parts.leads_to(services.candidate):
            self._parts.share_out(services, 0, before)
        return found

    def share(self, candidate: Version, percent: int) -> None:
        """Give it the pods for that share, and then the share; a smaller one at once.

        Raises:
            UnfinishedError: its pods are starting; the share is what it was.
        """
        before = self._site.demand_before(candidate)
        service = self._site.read()
        services = self._services(service)
        if self._found(candidate) is None:
            self._parts.take_back(services, before)
            if percent == 0:
                return
            raise NotFoundError(f"{self._site.what} has lost its candidate {self._second}")
        if percent > self._parts.percent(services):
            self._have_pods(service, percent, before)
        self._parts.share_out(services, percent, before)
        self._parts.shared(services)

    def _have_pods(self, service: Manifest, percent: int, before: Before) -> None:
        services = self._services(service)
        self._parts.demand_way(service, services)
        kept = int(service["spec"]["predictor"].get("minReplicas") or 0)
        stable = self._parts.stable_pods(service, services, before, kept)

        def keep(service: Manifest) -> None:
            predictor = service["spec"]["predictor"]
            keep_pods(predictor, before, stable)
            # As KServe takes it to be. A withdrawal then has something to write here, with which
            # whoever is late with a promotion collides.
            predictor.setdefault("maxReplicas", stable)

        self._site.change_under(before, keep)
        second = self._site.cluster.get(INFERENCE_SERVICE, self._second)
        # Never fewer: at a share that is set again, it may have more to do than it had.
        had = int(second["spec"]["predictor"].get("minReplicas") or 0)
        wanted = max(share_of(stable, percent), had)

        def scale(second: Manifest) -> None:
            self._site.memory.demand(before)
            second["spec"]["predictor"].update(minReplicas=wanted, maxReplicas=wanted)

        self._site.cluster.change(INFERENCE_SERVICE, self._second, scale)
        self._parts.await_pods(services, wanted)

    def promote(self, candidate: Version) -> None:
        """The stable one's pods are replaced while the candidate has all requests; then it goes.

        Raises:
            UnfinishedError: pods are starting, or being replaced.
        """
        before = self._site.before(candidate)
        service = self._site.read()
        if before is None or self._found(candidate) is None:
            if self._site.version(service) != candidate.version:
                if before is not None:  # somebody took it away that has requests
                    self._parts.take_back(self._services(service), before)
                raise NotFoundError(f"{self._site.what} has no candidate {candidate.version}")
        else:
            self._have_pods(service, 100, before)
            self._parts.share_out(self._services(service), 100, before)
            self._parts.replace_pods(self._services(service), candidate, before)
        self._parts.only(self._services(service), before)
        if before is not None:
            self._site.change_under(before, lambda each: before.rescale(each["spec"]["predictor"]))
            self._site.memory.demand(before)
        self._end()

    def withdraw(self, candidate: Version) -> None:
        """All requests to the stable version, then the second InferenceService goes.

        Where nobody remembers what was before, the stable one was not changed, but for its least
        of pods.
        """
        before = self._site.memory.read()
        if before is not None and before.candidate != candidate.version:
            return
        if before is None and self._is_somebodys(self._there()):
            return  # and so are the routes that lead to it
        services = self._services(self._site.read())
        if before is not None:
            self._site.memory.end(before)
            self._parts.only(services)
            self._site.change(lambda each: self._site.restore(each, candidate, before))
        elif self._parts.leads_to(services.candidate):
            self._parts.only(services)
        if before is not None or self._found(candidate) is not None:
            self._end()

    def public(self) -> Route:
        """The address that clients have."""
        service = self._site.read()
        return self._parts.public(service, self._services(service))

    def direct(self, version: str) -> Route:
        """The way to one version alone."""
        service = self._site.read()
        return self._parts.direct(service, self._services(service), version)

    def _end(self) -> None:
        if not self._is_somebodys(self._there()):
            self._site.cluster.delete(INFERENCE_SERVICE, self._second)
        self._site.memory.forget()

    def _services(self, service: Manifest) -> Services:
        stable = predictor_service(self._site.name, service["spec"]["predictor"].get("name"))
        return Services(stable, predictor_service(self._second, None), stable)

    def _there(self) -> Manifest | None:
        """The InferenceService of that name, unless it is going."""
        second = self._site.cluster.find(INFERENCE_SERVICE, self._second)
        going = second is not None and second["metadata"].get("deletionTimestamp")
        return None if going else second

    def _found(self, candidate: Version) -> Manifest | None:
        second = self._there()
        if second is None or self._is_somebodys(second):
            return None
        return second if self._site.version(second) == candidate.version else None

    def _is_somebodys(self, second: Manifest | None) -> bool:
        return second is not None and not is_rollouts(second)

    def _demand_free(self) -> None:
        if self._is_somebodys(self._there()):
            raise RolloutError(
                f"there is an InferenceService {self._second} that no rollout has made: a "
                "candidate needs this name, so give that one another"
            )

    def _demand_made(self, candidate: Version, error: ConflictError) -> None:
        if self._found(candidate) is not None:
            return
        self._demand_free()
        if self._there() is None:
            raise UnfinishedError(f"InferenceService {self._second} is still going") from error
        raise RolloutError(
            f"there is an InferenceService {self._second} that another rollout has left: delete it"
        ) from error

    def _copy(self, service: Manifest, candidate: Version) -> Manifest:
        predictor = self._site.serving(service, candidate)
        for key in (*NOT_A_CANARYS, "name"):
            predictor.pop(key, None)
        predictor.update(minReplicas=1, maxReplicas=1)
        # In URLs it is the same model, whatever the InferenceService is called.
        model = predictor["model"]
        model["args"] = [*model.get("args", ()), f"--model_name={self._site.name}"]
        annotations = copy.deepcopy(service["metadata"].get("annotations") or {})
        annotations.pop(APPLIED, None)
        if annotations.get(AUTOSCALER) != "none":
            # KServe's own then keeps the pods that are asked for; another one does not know it.
            annotations.pop(AUTOSCALER, None)
        metadata = {
            "name": self._second,
            "labels": {**(service["metadata"].get("labels") or {}), **MANAGED_BY},
            "annotations": annotations,
            "ownerReferences": [owner(service)],
        }
        return {"metadata": metadata, "spec": {"predictor": predictor}}
