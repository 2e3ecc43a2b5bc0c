"""An InferenceService in KServe's Standard mode with ``spec.canary``, from KServe 0.20 on."""

from __future__ import annotations

from rollout.errors import NotFoundError, RolloutError
from rollout.kserve.before import Before
from rollout.kserve.resources import Manifest
from rollout.kserve.routes import Routes
from rollout.kserve.site import Site
from rollout.kserve.standard import (
    AUTOSCALER,
    NO_WAY,
    Services,
    StandardParts,
    keep_pods,
    predictor_service,
    scaled_by_name,
    share_of,
)
from rollout.types import Readiness, Route, Standing, Version

# KServe's webhook refuses a canary these, or a merge of its own has no use for them.
NOT_A_CANARYS = (
    "autoScaling",
    "canaryTrafficPercent",
    "maxReplicas",
    "scaleMetric",
    "scaleMetricType",
    "scaleTarget",
)


class CanaryPlace:
    """The candidate is an entry of ``spec.canary``.

    KServe makes its pods; from 0.21 on it also shares requests out on its own route. On every other
    route that leads to the stable version's Service the weights are set here.

    Args:
        site: the InferenceService.
        routes: by which clients come.
        keep_name: to promote by replacing the stable version's pods, under the names that they
            have, and not by letting the candidate's pods be the stable ones.
    """

    def __init__(self, site: Site, routes: Routes, *, keep_name: bool = False) -> None:
        self._site = site
        self._routes = routes
        self._parts = StandardParts(site, routes)
        self._keep_name = keep_name

    @property
    def title(self) -> str:
        """For people."""
        return f"{self._site.what} (Standard mode, spec.canary)"

    def stable(self) -> str:
        """The version that is served now."""
        return self._site.stable()

    def launch(self, candidate: Version) -> None:
        """Add the entry, with one pod and no requests."""
        before = self._site.begin(candidate, self.withdraw)
        service = self._site.read()
        services = self._services(service, candidate)
        if self._entry(service, candidate) is None:  # somebody may have taken it away
            self._parts.take_back(services, before)
        stable = self._parts.stable_pods(service, services, before)

        def edit(service: Manifest) -> None:
            if self._entry(service, candidate) is None:
                self._demand_alone(service)
                entry = {"trafficPercent": 0, "predictor": self._predictor(service, candidate)}
                service["spec"]["canary"] = [entry]
                _scale(service, entry, 1, before, stable)

        service = self._site.change_under(before, edit)
        self._routes.ensure(service, services.stable, services.known)

    def readiness(self, candidate: Version) -> Readiness:
        """As its pods are, once requests can be sent to it alone."""
        service = self._site.read()
        entry = self._entry(service, candidate)
        before = self._site.before(candidate)
        if entry is None or before is None:
            return Readiness(Standing.ABSENT)
        services = self._services(service, candidate)
        found = self._parts.standing(services)
        if found.standing is not Standing.READY:
            return found
        if not _kserve_sees(service, entry):
            return Readiness(
                Standing.STARTING, "KServe has not noticed yet that its pods are ready"
            )
        if not self._weighed(services):
            return Readiness(Standing.FAILED, NO_WAY.format(service=services.stable))
        self._parts.share_out(services, entry["trafficPercent"], before)
        return found

    def share(self, candidate: Version, percent: int) -> None:
        """Give it the pods for that share, and then the share; a smaller one at once.

        Raises:
            UnfinishedError: its pods are starting; the share is what it was.
        """
        before = self._site.demand_before(candidate)
        service = self._site.read()
        services = self._services(service, candidate)
        if self._entry(service, candidate) is None:
            self._parts.take_back(services, before)
            if percent == 0:
                return
        has = self._demand_entry(service, candidate)["trafficPercent"]
        if percent > max(has, self._parts.percent(services)):
            self._have_pods(service, candidate, percent, before)
        self._weigh(services, candidate, percent, before)
        self._parts.shared(services)

    def _have_pods(
        self, service: Manifest, candidate: Version, percent: int, before: Before
    ) -> None:
        services = self._services(service, candidate)
        pods = _pods_of(self._demand_entry(service, candidate))
        kept = int(service["spec"]["predictor"].get("minReplicas") or 0) - pods
        stable = self._parts.stable_pods(service, services, before, kept)
        # Never fewer: at a share that is set again, it may have more to do than it had.
        wanted = max(share_of(stable, percent), pods)

        def scale(service: Manifest) -> None:
            _scale(service, self._demand_entry(service, candidate), wanted, before, stable)

        self._site.change_under(before, scale)
        self._parts.await_pods(services, wanted)
        if not self._weighed(services):  # KServe weighs those alone that are ready
            raise RolloutError(NO_WAY.format(service=services.stable))

    def _weigh(self, services: Services, candidate: Version, percent: int, before: Before) -> None:
        def weigh(service: Manifest) -> None:
            self._demand_entry(service, candidate)["trafficPercent"] = percent

        # Routes take no webhook: what goes back does not wait for one, and what rises has not risen
        # where one refuses, since nobody judges it then.
        rises = percent > self._parts.percent(services)
        if not rises:
            self._parts.share_out(services, percent, before)
        self._site.change_under(before, weigh)
        if rises:
            self._parts.share_out(services, percent, before)

    def promote(self, candidate: Version) -> None:
        """Its pods become the stable ones, without a restart; or those are replaced.

        Raises:
            UnfinishedError: pods are starting, or being replaced.
        """
        before = self._site.before(candidate)
        service = self._site.read()
        if before is None:
            self._demand_served(service, candidate)
            return
        if self._entry(service, candidate) is not None:
            self._have_pods(service, candidate, 100, before)
            self._weigh(self._services(service, candidate), candidate, 100, before)
            if self._keeps_name(service):
                self._take_its_place(candidate, before)
            else:
                self._site.change_under(before, lambda each: self._rename(each, candidate, before))
        else:
            self._demand_served(service, candidate, before)
        self._parts.only(self._services(self._site.read(), candidate), before)
        self._site.memory.demand(before)
        self._site.memory.forget()

    def withdraw(self, candidate: Version) -> None:
        """All requests to the stable version, then the entry goes.

        Where nobody remembers what was before, there is no more to do: what was before is there.
        """
        before = self._site.before(candidate)
        service = self._site.read()
        services = self._services(service, candidate)
        if before is not None:
            self._site.memory.end(before)
        elif self._entry(service, candidate) is None and not self._is_astray(services):
            return
        self._parts.only(services)

        def edit(service: Manifest) -> None:
            self._drop(service, candidate)
            if before is not None:
                self._site.restore(service, candidate, before)

        self._site.change(edit)
        self._site.memory.forget()

    def public(self) -> Route:
        """The address that clients have."""
        service = self._site.read()
        return self._parts.public(service, self._services(service, None))

    def direct(self, version: str) -> Route:
        """The way to one version alone."""
        service = self._site.read()
        return self._parts.direct(service, self._services(service, None), version)

    def _services(self, service: Manifest, candidate: Version | None) -> Services:
        before = self._site.memory.read()
        stable = predictor_service(self._site.name, service["spec"]["predictor"].get("name"))
        version = candidate.version if candidate else before.candidate if before else None
        if version is None:
            return Services(stable, stable, stable)
        earlier = before.predictor_name if before else service["spec"]["predictor"].get("name")
        return Services(
            stable,
            predictor_service(self._site.name, _name(version)),
            predictor_service(self._site.name, earlier),
        )

    def _is_astray(self, services: Services) -> bool:
        """Whether requests are sent to a candidate that no rollout knows of."""
        of_another = self._site.memory.read() is not None
        return not of_another and self._parts.leads_to(services.candidate)

    def _weighed(self, services: Services) -> bool:
        return bool(self._routes.found(services.known)) or self._routes.kserve_weighs(
            services.candidate
        )

    def _predictor(self, service: Manifest, candidate: Version) -> Manifest:
        predictor = self._site.serving(service, candidate)
        for key in NOT_A_CANARYS:
            predictor.pop(key, None)
        predictor["name"] = _name(candidate.version)
        # The schema of a canary demands it; that of a predictor does not.
        predictor["model"].setdefault("name", "kserve-container")
        if scaled_by_name(service):
            # Nobody would scale its Deployment, and KServe would leave it at one pod.
            predictor["annotations"] = {**predictor.get("annotations", {}), AUTOSCALER: "none"}
        return predictor

    def _entry(self, service: Manifest, candidate: Version) -> Manifest | None:
        name = _name(candidate.version)
        for each in service["spec"].get("canary") or ():
            if each["predictor"]["name"] == name:
                entry: Manifest = each
                return entry
        return None

    def _demand_entry(self, service: Manifest, candidate: Version) -> Manifest:
        entry = self._entry(service, candidate)
        if entry is None:
            raise NotFoundError(
                f"{self._site.what} has lost its canary {_name(candidate.version)}: somebody else "
                "changed it meanwhile"
            )
        return entry

    def _demand_alone(self, service: Manifest) -> None:
        others = [each["predictor"]["name"] for each in service["spec"].get("canary") or ()]
        if others:
            raise RolloutError(
                f"{self._site.what} has a canary of somebody else's, {', '.join(others)}: remove "
                "it, or let it take over, before another version is rolled out"
            )

    def _demand_served(
        self, service: Manifest, candidate: Version, before: Before | None = None
    ) -> None:
        found = self._site.version(service)
        if found != candidate.version:
            if before is not None:  # somebody took it away that has requests
                self._parts.take_back(self._services(service, candidate), before)
            raise RolloutError(
                f"{self._site.what} serves version {found} and has no candidate "
                f"{candidate.version}: somebody else changed it meanwhile"
            )

    def _keeps_name(self, service: Manifest) -> bool:
        # The webhook refuses a new name without a new storageUri; an autoscaler from outside knows
        # the Deployment by its name.
        named = service["spec"]["predictor"]["model"].get("storageUri")
        return self._keep_name or not named or scaled_by_name(service)

    def _rename(self, service: Manifest, candidate: Version, before: Before) -> None:
        self._demand_entry(service, candidate)
        # As it is by now, and not as the entry was made of it: what others changed stays.
        predictor = self._site.serving(service, candidate)
        predictor["name"] = _name(candidate.version)
        before.rescale(predictor)
        service["spec"]["predictor"] = predictor
        self._drop(service, candidate)

    def _take_its_place(self, candidate: Version, before: Before) -> None:
        services = self._services(self._site.read(), candidate)
        self._parts.replace_pods(services, candidate, before)
        self._parts.only(services, before)

        def edit(service: Manifest) -> None:
            self._drop(service, candidate)
            before.rescale(service["spec"]["predictor"])

        self._site.change_under(before, edit)

    def _drop(self, service: Manifest, candidate: Version) -> None:
        entries = service["spec"].get("canary") or []
        left = [each for each in entries if each is not self._entry(service, candidate)]
        service["spec"].pop("canary", None)
        if left:
            service["spec"]["canary"] = left


def _name(version: str) -> str:
    return f"v{version}"


def _scale(service: Manifest, entry: Manifest, pods: int, before: Before, stable: int) -> None:
    """So many pods for the canary, besides those of the stable version; in place.

    KServe takes a canary's pods from the stable predictor's ``minReplicas``.
    """
    entry["predictor"]["minReplicas"] = pods
    keep_pods(service["spec"]["predictor"], before, stable + pods)


def _pods_of(entry: Manifest) -> int:
    return int(entry["predictor"].get("minReplicas") or 0)


def _kserve_sees(service: Manifest, entry: Manifest) -> bool:
    return any(
        each.get("name") == entry["predictor"]["name"] and each.get("ready")
        for each in (service.get("status") or {}).get("canaryStatuses") or ()
    )
