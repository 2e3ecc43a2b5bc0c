"""What both ways of rolling out in KServe's Standard mode share: pods, weights, addresses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from rollout.errors import NotFoundError, RolloutError, UnfinishedError
from rollout.kserve.before import Before
from rollout.kserve.pods import find_pods, hopeless, pods_of, standing
from rollout.kserve.resources import Manifest
from rollout.kserve.restarts import Restarts, still_ready
from rollout.kserve.routes import Routes
from rollout.kserve.site import Site
from rollout.kserve.source import loads
from rollout.kserve.weights import VERSION_HEADER
from rollout.types import Readiness, Route, Standing, Version

AUTOSCALER = "serving.kserve.io/autoscalerClass"
NO_WAY = (
    "no HTTPRoute of its namespace leads to Service {service}, and KServe's own sends a candidate "
    "nothing: name the host that clients use (--host), which must be another than KServe gave, or "
    "make a route for it as manifests/components/canary has one"
)


@dataclass(frozen=True, slots=True)
class Services:
    """The Kubernetes Services, and Deployments, of two versions.

    Attributes:
        stable: of the version that is served now.
        candidate: of the other one.
        earlier: that the stable version had before it was promoted under another name.
    """

    stable: str
    candidate: str
    earlier: str

    @property
    def known(self) -> set[str]:
        """All of them."""
        return {self.stable, self.candidate, self.earlier}


def predictor_service(service: str, name: str | None) -> str:
    """What KServe calls the Service and the Deployment of a predictor."""
    return "-".join(part for part in (service, name, "predictor") if part)


def scaled_by_name(service: Manifest) -> bool:
    """Whether something else than KServe scales the Deployment, which it knows by its name."""
    annotations = service["metadata"].get("annotations") or {}
    return annotations.get(AUTOSCALER) in ("external", "keda")


def share_of(pods: int, percent: int) -> int:
    """How many pods a share of the requests takes, of so many that can take all."""
    return max(1, -(-pods * percent // 100))


def keep_pods(predictor: Manifest, before: Before, least: int) -> None:
    """An autoscaler is to leave a predictor so many pods; in place."""
    before.rescale(predictor)
    predictor["minReplicas"] = least
    if predictor.get("maxReplicas"):
        predictor["maxReplicas"] = max(predictor["maxReplicas"], least)


class StandardParts:
    """The common steps of both ways.

    Args:
        site: the InferenceService.
        routes: by which clients come.
    """

    def __init__(self, site: Site, routes: Routes) -> None:
        self._site = site
        self._routes = routes
        self._restarts = Restarts(site.cluster)

    def standing(self, services: Services) -> Readiness:
        """How far the candidate's pods have come; ready is one that has stayed so."""
        found = standing(self._site.cluster, services.candidate, 1)
        if found.standing is not Standing.READY:
            return found
        return still_ready(self._site.cluster, pods_of(services.candidate), self._restarts)

    def demand_way(self, service: Manifest, services: Services) -> None:
        """There must be a route whose weights can be set.

        Raises:
            RolloutError: there is none; says how there can be one.
        """
        if not self._routes.ensure(service, services.stable, services.known):
            raise RolloutError(NO_WAY.format(service=services.stable))

    def stable_pods(
        self, service: Manifest, services: Services, before: Before, kept: int = 0
    ) -> int:
        """How many pods the stable version is to keep: its least, or what an autoscaler gave it.

        Args:
            service: the InferenceService.
            services: of both versions.
            before: what was before the rollout.
            kept: how many it was to keep so far; an autoscaler from outside gives it fewer as its
                share falls, and yet that is how many pods can take all requests.
        """
        least = max(int(before.scale.get("minReplicas") or 1), 1)
        if int(before.scale.get("maxReplicas") or 0) <= least and not scaled_by_name(service):
            return least
        stable = find_pods(self._site.cluster, services.stable)
        return max(least, kept, stable.wanted if stable else least)

    def await_pods(self, services: Services, wanted: int) -> None:
        """The candidate must have its pods before it gets the requests for them.

        Raises:
            UnfinishedError: they are starting.
            RolloutError: they will not come.
        """
        found = standing(self._site.cluster, services.candidate, wanted)
        if found.standing is Standing.FAILED:
            raise RolloutError(f"more pods of the candidate do not come: {found.reason}")
        if found.standing is not Standing.READY:
            raise UnfinishedError(f"more pods of the candidate are starting: {found.reason}")

    def share_out(
        self, services: Services, percent: int, before: Before, *, candidate: bool = True
    ) -> None:
        """Set the weights, and the ways by version, of all routes.

        Raises:
            ConflictError: somebody else has ended the rollout.
        """
        weights = {services.stable: 100 - percent}
        direct: Mapping[str, str] = {}
        if candidate:
            weights[services.candidate] = percent
            direct = {before.stable: services.stable, before.candidate: services.candidate}
        under_way = partial(self._site.memory.demand, before)
        self._routes.share_out(weights, services.known, direct, under_way)

    def shared(self, services: Services) -> None:
        """The candidate has its share: from now on its pods must not start again."""
        self._restarts.begin(pods_of(services.candidate))

    def percent(self, services: Services) -> int:
        """The largest share that a route of clients gives the candidate."""
        return self._routes.percent(services.candidate)

    def take_back(self, services: Services, before: Before) -> None:
        """All requests to the stable version while there is no candidate."""
        if self.leads_to(services.candidate):
            self.only(services, before)

    def leads_to(self, service: str) -> bool:
        """Whether a route of clients names a Service, whatever its weight."""
        return bool(self._routes.found({service}))

    def only(self, services: Services, before: Before | None = None) -> None:
        """All requests to the stable version.

        Raises:
            ConflictError: it is to be so at a promotion, and somebody else has ended the rollout of
                ``before``.
        """
        weights = {services.stable: 100}
        if before is None:
            self._routes.share_out(weights, services.known, {})
        else:
            under_way = partial(self._site.memory.demand, before)
            self._routes.share_out(weights, services.known, {}, under_way)

    def replace_pods(self, services: Services, candidate: Version, before: Before) -> None:
        """Let the stable version's own pods serve the candidate, which has all requests meanwhile.

        Raises:
            UnfinishedError: they are being replaced.
            RolloutError: they will not come: there is no room, or they crash.
        """

        def edit(service: Manifest) -> None:
            if not self._site.serves(service, candidate):
                service["spec"]["predictor"] = self._site.serving(service, candidate)

        service = self._site.change_under(before, edit)
        pods = find_pods(self._site.cluster, services.stable)
        predictor = service["spec"]["predictor"]
        if pods is None or not loads(pods.template, predictor):
            raise UnfinishedError(f"KServe has not begun to replace the pods of {services.stable}")
        if pods.settled:
            return
        why = hopeless(self._site.cluster, services.stable, predictor)
        if why:
            raise RolloutError(
                f"the pods of {services.stable} cannot be replaced: {why}; the candidate has all "
                "requests: mend that and go on, or abort"
            )
        raise UnfinishedError(
            f"the pods of {services.stable} are being replaced: {pods.ready} of {pods.wanted} "
            "are ready"
        )

    def public(self, service: Manifest, services: Services) -> Route:
        """By the route that is weighed, or KServe's own where that is."""
        host = self._routes.wanted_host or self._routes.host(services.known)
        url = (service.get("status") or {}).get("url") or "http://"
        if host and self._routes.found(services.known):
            return self._site.at_gateway(f"{str(url).partition(':')[0]}://{host}")
        return self._site.own_address(service)

    def direct(self, service: Manifest, services: Services, version: str) -> Route:
        """By the public route and a header; where there is no such way by the Service's name."""
        before = self._site.memory.read()
        if before is None and version == self._site.version(service):
            return replace(self.public(service, services), version=version)
        if before is None or version not in (before.stable, before.candidate):
            raise NotFoundError(f"{self._site.what} has no version {version}")
        if self._routes.leads_to(version, services.known):
            public = self.public(service, services)
            headers = {**public.headers, VERSION_HEADER: version}
            return replace(public, headers=headers, version=version)
        own = services.candidate if version == before.candidate else services.stable
        return replace(self._site.in_cluster(own), version=version)
