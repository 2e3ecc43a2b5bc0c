"""An InferenceService in KServe's Knative (Serverless) mode: two revisions, and a share of one."""

from __future__ import annotations

from dataclasses import replace

from rollout.errors import NotFoundError, RolloutError, UnfinishedError, UnreachableError
from rollout.kserve.before import Before
from rollout.kserve.resources import REVISION, Manifest
from rollout.kserve.restarts import Restarts
from rollout.kserve.revisions import pods_of_revision, revision_standing
from rollout.kserve.site import Site
from rollout.kserve.source import loads
from rollout.types import Readiness, Route, Standing, Version

SHARE = "canaryTrafficPercent"
# With it KServe gives the newest revision a host name of its own, whatever its share is.
TAG_ROUTING = "serving.kserve.io/enable-tag-routing"
NEWEST, ROLLED_OUT = "latest", "prev"  # KServe's tags


class ServerlessPlace:
    """Knative shares requests out between the newest revision and the one rolled out last.

    Args:
        site: the InferenceService.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._restarts = Restarts(site.cluster)

    @property
    def title(self) -> str:
        """For people."""
        return f"{self._site.what} (Knative mode)"

    def stable(self) -> str:
        """The version that is served now."""
        return self._site.stable()

    def launch(self, candidate: Version) -> None:
        """Let KServe make a revision of the candidate, with no requests.

        Raises:
            UnfinishedError: KServe is still at what was wanted before.
            RolloutError: somebody else shares requests out.
        """
        if self._site.memory.read() is None:
            self._demand_settled(self._site.read())
        before = self._site.begin(candidate, self.withdraw)

        def edit(service: Manifest) -> None:
            predictor = service["spec"]["predictor"]
            if not self._site.serves(service, candidate):
                self._site.sources.serve(predictor, candidate)
                predictor[SHARE] = 0
                _put_tag_routing(service, "true")

        self._site.change_under(before, edit)

    def readiness(self, candidate: Version) -> Readiness:
        """As Knative says of the newest revision, once that is the candidate's."""
        service = self._site.read()
        if self._site.before(candidate) is None or not self._site.serves(service, candidate):
            return Readiness(Standing.ABSENT)
        status = _predictor_status(service)
        created = status.get("latestCreatedRevision")
        revision = self._site.cluster.find(REVISION, created) if created else None
        if revision is None or not loads(revision, self._site.serving(service, candidate)):
            return Readiness(Standing.STARTING, "KServe has not made its revision yet")
        if created == status.get("latestReadyRevision"):
            return revision_standing(self._site.cluster, revision, self._restarts)
        for each in (service.get("status") or {}).get("conditions") or ():
            if each.get("type") == "PredictorConfigurationReady" and each["status"] == "False":
                return Readiness(Standing.FAILED, str(each.get("message") or each.get("reason")))
        return Readiness(Standing.STARTING, f"revision {created} is not ready yet")

    def share(self, candidate: Version, percent: int) -> None:
        """Set ``canaryTrafficPercent``."""
        before = self._site.demand_before(candidate)

        def edit(service: Manifest) -> None:
            self._demand(service, candidate)
            service["spec"]["predictor"][SHARE] = percent

        service = self._site.change_under(before, edit)
        created = _predictor_status(service).get("latestCreatedRevision")
        self._restarts.begin(pods_of_revision(str(created)))

    def promote(self, candidate: Version) -> None:
        """Take ``canaryTrafficPercent`` away: the newest revision gets everything."""
        before = self._site.before(candidate)
        if before is None:
            if self._site.serves(self._site.read(), candidate):
                return
            raise NotFoundError(f"{self._site.what} has no version {candidate.version} to promote")

        def edit(service: Manifest) -> None:
            self._demand(service, candidate)
            service["spec"]["predictor"].pop(SHARE, None)

        self._site.change_under(before, edit)
        self._site.memory.demand(before)
        self._site.memory.forget()

    def withdraw(self, candidate: Version) -> None:
        """All requests to the revision of before; then a revision of what was served before.

        "The newest that is ready" is the candidate's revision until the other one is ready, so the
        share is given up only then.

        Raises:
            UnfinishedError: Knative is at it; the requests are back.
            RolloutError: they are, and nobody remembers what was served before.
        """
        before = self._site.before(candidate)
        if before is None:
            self._send_back_alone(candidate)
            return
        self._site.memory.end(before)
        service = self._site.read()
        status = _predictor_status(service)
        created = status.get("latestCreatedRevision")
        if self._site.serves(service, candidate):
            # Once it had everything, KServe takes the step back first, for the spec that it knows.
            rolled_out = created is not None and created == status.get("latestRolledoutRevision")
            whole = rolled_out and self._loads(created, self._site.serving(service, candidate))
            self._send_back(candidate, before, share_alone=whole)
            raise UnfinishedError(f"version {before.stable} gets all requests; the candidate goes")
        left = self._loads(created, self._site.serving(service, candidate))
        if left or created is None or created != status.get("latestReadyRevision"):
            raise UnfinishedError(
                f"version {before.stable} gets all requests; its new revision is not ready yet"
            )

        def finish(service: Manifest) -> None:
            service["spec"]["predictor"].pop(SHARE, None)

        self._site.change(finish)
        self._site.memory.forget()

    def public(self) -> Route:
        """The InferenceService's own address."""
        return self._site.own_address(self._site.read())

    def direct(self, version: str) -> Route:
        """By its tag's host name; where it has none by its revision's name, in the cluster.

        Raises:
            UnreachableError: there is no such way yet.
        """
        before = self._site.memory.read()
        service = self._site.read()
        if before is None and version == self._site.version(service):
            return replace(self._site.own_address(service), version=version)
        if before is None or version not in (before.stable, before.candidate):
            raise NotFoundError(f"{self._site.what} has no version {version}")
        newest = version == before.candidate
        status = _predictor_status(service)
        revision = status.get("latestCreatedRevision" if newest else "latestRolledoutRevision")
        if revision is None:
            raise UnreachableError(f"version {version} has no revision yet")
        for each in status.get("traffic") or ():
            if each.get("tag") == (NEWEST if newest else ROLLED_OUT) and each.get("url"):
                if each.get("revisionName", revision) != revision:
                    raise UnreachableError(
                        f"there is no way to version {version} yet: {each['url']} leads to "
                        f"revision {each['revisionName']}"
                    )
                return replace(self._site.at_gateway(str(each["url"])), version=version)
        return replace(self._site.in_cluster(str(revision)), version=version)

    def _loads(self, revision: str | None, predictor: Manifest) -> bool:
        found = self._site.cluster.find(REVISION, revision) if revision else None
        return found is not None and loads(found, predictor)

    def _send_back(self, candidate: Version, before: Before, *, share_alone: bool) -> None:
        def edit(service: Manifest) -> None:
            predictor = service["spec"]["predictor"]
            predictor[SHARE] = 0
            if not share_alone and self._site.serves(service, candidate):
                self._site.restore(service, candidate, before)
                _put_tag_routing(service, before.tag_routing)

        self._site.change(edit)

    def _send_back_alone(self, candidate: Version) -> None:
        """What can be done of a withdrawal without ``Before``; nothing where none is due."""
        service = self._site.read()
        shared = SHARE in service["spec"]["predictor"]
        if self._site.memory.read() or not shared or not self._site.serves(service, candidate):
            return

        def edit(service: Manifest) -> None:
            if self._site.serves(service, candidate):
                service["spec"]["predictor"][SHARE] = 0

        self._site.change(edit)
        raise RolloutError(
            f"version {candidate.version} gets no requests any more, but what {self._site.what} "
            "served before is not known, for somebody has deleted its ConfigMap "
            f"{self._site.name}-rollout-before: let its predictor be what it was, with {SHARE} 0, "
            f"and remove {SHARE} when that is ready"
        )

    def _demand_settled(self, service: Manifest) -> None:
        share = service["spec"]["predictor"].get(SHARE)
        if share is not None and share < 100:
            raise RolloutError(
                f"{self._site.what} has a {SHARE} of somebody else's, {share}: let that version "
                "take over, or take it back, before another one is rolled out"
            )
        # Without a revision that was rolled out KServe would give the candidate everything.
        status = _predictor_status(service)
        keys = ("latestCreatedRevision", "latestReadyRevision", "latestRolledoutRevision")
        revisions = {status.get(key) for key in keys}
        if len(revisions) > 1 or None in revisions:
            raise UnfinishedError(
                f"{self._site.what} is not ready, or changing: there is no revision "
                "that has all requests"
            )

    def _demand(self, service: Manifest, candidate: Version) -> None:
        if not self._site.serves(service, candidate):
            raise NotFoundError(
                f"{self._site.what} serves another version in place of the candidate "
                f"{candidate.version}: somebody else changed it meanwhile"
            )


def _predictor_status(service: Manifest) -> Manifest:
    components = (service.get("status") or {}).get("components") or {}
    found: Manifest = components.get("predictor") or {}
    return found


def _put_tag_routing(service: Manifest, value: str | None) -> None:
    annotations = service["metadata"].setdefault("annotations", {})
    if value is None:
        annotations.pop(TAG_ROUTING, None)
    else:
        annotations[TAG_ROUTING] = value
