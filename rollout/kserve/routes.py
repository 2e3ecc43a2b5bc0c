"""The routes by which clients come: ours and theirs, where KServe's own do not share out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rollout.errors import ConflictError, RolloutError
from rollout.kserve.cluster import Cluster
from rollout.kserve.ledger import MANAGED_BY, owner
from rollout.kserve.resources import (
    GRPC_ROUTE,
    HTTP_ROUTE,
    INFERENCE_SERVICE,
    Manifest,
    Resource,
)
from rollout.kserve.weights import backends, leads_to, percent_of, room_for, share_out

GATEWAY = "kserve/kserve-ingress-gateway"  # KServe's default
HTTP_PORT = 80  # of the Services that KServe makes


@dataclass(frozen=True, slots=True)
class Routes:
    """The HTTPRoutes and GRPCRoutes of a namespace that lead to a model's Services.

    Not those that KServe keeps itself: it would take back what others write there.

    Attributes:
        cluster: the namespace.
        service: the InferenceService.
        wanted_host: the host name that clients use, for a route where there is none.
        gateway: of that route, NAMESPACE/NAME; None is the one of KServe's own route.
    """

    cluster: Cluster
    service: str
    wanted_host: str | None = None
    gateway: str | None = None

    def found(self, known: set[str]) -> list[tuple[Resource, Manifest]]:
        """Those that lead to any of the Services ``known``."""
        return [
            (resource, {"kind": resource.kind, **route})
            for resource in (HTTP_ROUTE, GRPC_ROUTE)
            for route in self.cluster.list_all(resource)
            if backends(route) & known and not _kserves(route)
        ]

    def percent(self, service: str) -> int:
        """The largest share that any of them gives a Service."""
        return max((percent_of(route, service) for _, route in self.found({service})), default=0)

    def host(self, known: set[str]) -> str | None:
        """The first host name that clients can use by them; None if there is none."""
        for resource, route in self.found(known):
            hosts = [str(each) for each in route["spec"].get("hostnames") or ()]
            named = [each for each in hosts if not each.startswith("*")]
            if resource is HTTP_ROUTE and named:
                return named[0]
        return None

    def leads_to(self, version: str, known: set[str]) -> bool:
        """Whether a version can be asked by its header, by whichever route."""
        routes = [route for kind, route in self.found(known) if kind is HTTP_ROUTE]
        return bool(routes) and all(leads_to(route, version) for route in routes)

    def share_out(
        self,
        weights: Mapping[str, int],
        known: set[str],
        direct: Mapping[str, str],
        under_way: Callable[[], None] = lambda: None,
    ) -> None:
        """Give every one of them these weights (percent by Service), see ``weights.share_out``.

        Args:
            weights: percent by Service.
            known: the Services that either version has, or had.
            direct: the Service by version.
            under_way: raises where that is no longer wanted; asked once a route has been read.
        """
        for resource, route in self.found(known):
            headers = direct if resource is HTTP_ROUTE else {}

            def edit(each: Manifest, headers: Mapping[str, str] = headers) -> None:
                under_way()
                share_out(each, weights, known, headers if room_for(each, known, headers) else {})

            self.cluster.change(resource, route["metadata"]["name"], edit)

    def ensure(self, isvc: Manifest, backend: str, known: set[str]) -> bool:
        """Whether there is one; makes ``NAME-split`` for ``wanted_host`` where there is none.

        It goes with the InferenceService, and stays when a rollout is over: clients use it.

        Args:
            isvc: the InferenceService.
            backend: the Service that gets everything for now.
            known: the Services that either version has.
        """
        if self.found(known):
            return True
        # Where both have a host, the older route has its requests, and that is KServe's.
        if self.wanted_host is None or self.wanted_host in self._hosts_of_kserve():
            return False
        metadata = {
            "name": f"{self.service}-split",
            "labels": MANAGED_BY,
            "ownerReferences": [owner(isvc)],
        }
        spec = {
            "hostnames": [self.wanted_host],
            "parentRefs": self._parents(),
            "rules": [{"backendRefs": [{"name": backend, "port": HTTP_PORT, "weight": 100}]}],
        }
        try:
            self.cluster.create(HTTP_ROUTE, {"metadata": metadata, "spec": spec})
        except ConflictError as error:
            raise RolloutError(
                f"there is an HTTPRoute {self.service}-split that leads elsewhere than to "
                f"{backend}: let it lead there, or delete it"
            ) from error
        return True

    def kserve_weighs(self, candidate: str) -> bool:
        """Whether KServe's own route knows the candidate's Service, as it does from 0.21 on."""
        route = self.cluster.find(HTTP_ROUTE, self.service)
        return route is not None and _kserves(route) and candidate in backends(route)

    def _hosts_of_kserve(self) -> set[str]:
        routes = self.cluster.list_all(HTTP_ROUTE)
        return {
            str(host)
            for route in routes
            if _kserves(route)
            for host in route["spec"].get("hostnames") or ()
        }

    def _parents(self) -> list[Manifest]:
        kserves = self.cluster.find(HTTP_ROUTE, self.service)
        if self.gateway is None and kserves is not None:
            return list(kserves["spec"]["parentRefs"])
        namespace, _, name = (self.gateway or GATEWAY).rpartition("/")
        return [{"name": name, **({"namespace": namespace} if namespace else {})}]


def _kserves(route: Manifest) -> bool:
    return any(
        each.get("controller") and each["kind"] == INFERENCE_SERVICE.kind
        for each in route["metadata"].get("ownerReferences") or ()
    )
