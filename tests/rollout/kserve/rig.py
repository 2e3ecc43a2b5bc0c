"""A cluster with KServe in one of its modes, a model on it, and the Place of its rollout."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from rollout.errors import UnfinishedError
from rollout.kserve.cluster import Cluster as Client
from rollout.kserve.connect import Options, place_of
from rollout.kserve.site import Site
from rollout.kserve.source import Sources
from rollout.types import Place, Standing, Version
from tests.kubernetes.cluster import Cluster, running
from tests.kubernetes.kserve_controller import Controller, kserve_running
from tests.kubernetes.kserve_names import STORAGE_URI, KServe
from tests.kubernetes.workloads import Fate, is_ready
from tests.rollout.kserve.objects import (
    CANDIDATE,
    NAME,
    NAMESPACE,
    STORAGE,
    Object,
    public_route,
    service,
)


class KilledError(BaseException):
    """``kill -9``: nothing of the process runs after it."""


class Mortal(Client):
    """A client that dies with its process once the request of that number has been answered."""

    def __init__(self, client: Client, last: int) -> None:
        super().__init__(client._client, client.namespace)
        self.left = last

    def _ask(self, *args: Any, **more: Any) -> Object:
        answer = super()._ask(*args, **more)
        self.left -= 1
        if not self.left:
            raise KilledError
        return answer


@dataclass(frozen=True, slots=True)
class Mode:
    """One way in which KServe serves.

    Attributes:
        title: part of what the Place says of itself.
        kserve: which there is.
        word: the InferenceService's annotation.
        own_route: clients come by a route that KServe does not keep.
        options: of the rollout.
    """

    title: str
    kserve: KServe = field(default_factory=KServe)
    word: str = "Standard"
    own_route: bool = True
    options: Options = field(default_factory=Options)


MODES = {
    "knative": Mode("Knative mode", word="Knative", own_route=False),
    "canary": Mode("spec.canary"),
    "canary-keep-name": Mode("spec.canary", options=Options(keep_name=True)),
    "canary-weighed": Mode("spec.canary", KServe(weighs_canaries=True), own_route=False),
    "pair": Mode("second InferenceService", KServe("0.15.2"), word="RawDeployment"),
}


class Rig:
    """All of it; ``place()`` is made anew each time, as by another process."""

    def __init__(
        self, cluster: Cluster, controller: Controller, mode: Mode, client: Client
    ) -> None:
        self.cluster, self.controller, self.mode, self.client = cluster, controller, mode, client

    def place(self, client: Client | None = None) -> Place:
        """The way to roll out here."""
        options = self.mode.options
        sources = Sources(options.storage, options.champion)
        site = Site(client or self.client, NAME, sources, options.address)
        return place_of(site, options)

    def carry_out(self, order: Callable[[Place], None], client: Client | None = None) -> None:
        """Give an order again until it is through, as a rollout does."""
        for _ in range(12):
            with contextlib.suppress(UnfinishedError):
                order(self.place(client))
                self.controller.settle()
                return
            self.controller.settle()
        order(self.place(client))

    def launched(self, candidate: Version = CANDIDATE) -> None:
        """The candidate is ready, and has no requests yet."""
        self.carry_out(lambda place: place.launch(candidate))
        found = self.place().readiness(candidate)
        assert found.standing is Standing.READY, found.reason
        self.controller.settle()

    def shared(self, percent: int) -> None:
        """It gets so much."""
        self.carry_out(lambda place: place.share(CANDIDATE, percent))

    def service(self) -> Any:
        """The InferenceService as it is."""
        return self.cluster.get("InferenceService", NAME, NAMESPACE)

    def shares(self) -> dict[str, int]:
        """Percent of the public requests by version; ``lost`` are those that find no ready pod."""
        if self.mode.word == "Knative":
            found = self._of_knative()
        else:
            route = f"{NAME}-split" if self.mode.own_route else NAME
            found = self._of_route(self.cluster.get("HTTPRoute", route, NAMESPACE))
        shares: dict[str, int] = {}
        for version, percent in found:
            if percent:
                shares[version] = shares.get(version, 0) + percent
        return shares

    def pods(self, version: str) -> int:
        """How many of a version's pods take requests."""
        uri = f"/{version}"
        pods = self.cluster.list("Pod", NAMESPACE)
        return sum(is_ready(pod) and _uri(pod).endswith(uri) for pod in pods)

    def _of_knative(self) -> Iterator[tuple[str, int]]:
        service = self.cluster.get("Service", f"{NAME}-predictor", NAMESPACE, "serving.knative.dev")
        for target in service["status"]["traffic"]:
            revision = self.cluster.get("Revision", target["revisionName"], NAMESPACE)
            yield _uri(revision).rpartition("/")[2], target["percent"]

    def _of_route(self, route: Object) -> Iterator[tuple[str, int]]:
        *_, rule = route["spec"]["rules"]
        total = sum(each.get("weight", 1) for each in rule["backendRefs"])
        for each in rule["backendRefs"]:
            percent = each.get("weight", 1) * 100 // total
            yield self._behind(each["name"]), percent

    def _behind(self, name: str) -> str:
        service = self.cluster.get("Service", name, NAMESPACE, "")
        if service is None:
            return "lost"
        labels = ",".join(f"{key}={value}" for key, value in service["spec"]["selector"].items())
        ready = [pod for pod in self.cluster.list("Pod", NAMESPACE, labels) if is_ready(pod)]
        versions = {_uri(pod).rpartition("/")[2] for pod in ready}
        # Pods that are being replaced are of two versions.
        return "+".join(sorted(versions)) or "lost"

    def end(self) -> Object:
        """What is left when all is over, less what tells when and how often it was written."""
        spec = self.service()["spec"]
        routes = self.cluster.list("HTTPRoute", NAMESPACE)
        return {
            "spec": spec,
            "shares": self.shares(),
            "routes": {each["metadata"]["name"]: each["spec"] for each in routes},
            "others": sorted(
                f"{kind} {each['metadata']['name']}"
                for kind, group in (
                    ("InferenceService", None),
                    ("ConfigMap", None),
                    ("Deployment", "apps"),
                )
                for each in self.cluster.list(kind, NAMESPACE, group=group)
            ),
        }


def _uri(thing: Object) -> str:
    annotations = thing["metadata"].get("annotations") or {}
    return str(annotations.get(STORAGE_URI, ""))


@contextlib.contextmanager
def rigged(
    mode: Mode,
    client_of: Callable[[Cluster], Client],
    thing: Object | None = None,
    fate: Fate = Fate.READY,
) -> Iterator[Rig]:
    """A rig with version 3, whose pods have that fate."""
    crds = ["gateway-api", "knative-serving", f"kserve-{mode.kserve.version}"]
    with running(*crds) as cluster, kserve_running(cluster, mode.kserve) as controller:
        cluster.namespace(NAMESPACE)
        controller.workloads.set_fate(f"{STORAGE}/3", fate)
        thing = thing or service()
        thing["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = mode.word
        cluster.create(thing)
        if mode.own_route:
            cluster.create(public_route())
        controller.settle()
        yield Rig(cluster, controller, mode, client_of(cluster))
