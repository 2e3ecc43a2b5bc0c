"""KServe's Knative mode: revisions, their shares, and the ways to each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rollout.errors import NotFoundError, RolloutError, UnfinishedError, UnreachableError
from rollout.kserve.connect import Options, place_of
from rollout.kserve.detection import KNATIVE, MODE, STANDARD, deployment_mode
from rollout.kserve.site import Site
from rollout.kserve.source import Sources
from rollout.types import Route, Standing, Version
from tests.kubernetes.workloads import Fate
from tests.rollout.kserve.objects import CANDIDATE, NAME, NAMESPACE, STORAGE, service
from tests.rollout.kserve.rig import MODES, Rig, rigged

MODEL = f"/v2/models/{NAME}"


@pytest.fixture
def rig(clients) -> Iterator[Rig]:
    """A model in Knative mode."""
    with rigged(MODES["knative"], clients) as rig:
        yield rig


def test_each_version_has_a_host_name_of_its_own(rig):
    """By KServe's tags, which are asked for with the candidate; then it is one address again."""
    public = Route(f"http://{NAME}.{NAMESPACE}.example.com{MODEL}")
    assert rig.place().public() == public
    assert rig.place().direct("3") == replace(public, version="3")
    rig.launched()

    domain = f"{NAME}-predictor.{NAMESPACE}.example.com"
    assert rig.place().direct("4") == Route(f"http://latest-{domain}{MODEL}", version="4")
    assert rig.place().direct("3") == Route(f"http://prev-{domain}{MODEL}", version="3")
    with pytest.raises(NotFoundError):
        rig.place().direct("5")
    rig.shared(100)
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    assert rig.place().direct("4") == replace(public, version="4")


def test_a_host_name_that_still_leads_to_the_revision_before_is_no_way(rig):
    """The annotation stays after a promotion, so that there is one before Knative has moved it."""
    rig.launched()
    rig.shared(100)
    rig.carry_out(lambda place: place.promote(CANDIDATE))
    newer = Version(NAME, "5", f"models:/{NAME}/5")
    rig.launched(newer)
    service = rig.service()
    (latest, *_) = service["status"]["components"]["predictor"]["traffic"]
    assert latest["tag"] == "latest"
    latest["revisionName"] = f"{NAME}-predictor-00002"
    with rig.controller.held():
        rig.cluster.set_status(service, service["status"])

        with pytest.raises(UnreachableError, match=r"no way to version 5 yet: .*latest-.*-00002"):
            rig.place().direct("5")


def test_names_that_nobody_resolves_are_sent_as_a_header(rig):
    """To the gateway's address."""
    rig.mode = replace(rig.mode, options=Options(address="http://10.0.0.7"))
    rig.launched()

    host = f"latest-{NAME}-predictor.{NAMESPACE}.example.com"
    assert rig.place().direct("4") == Route(f"http://10.0.0.7{MODEL}", {"Host": host}, "4")


def test_a_revision_without_a_tag_is_asked_in_the_cluster(rig):
    """While KServe has not yet shared anything out."""
    rig.launched()
    service = rig.service()
    status = service["status"]
    del status["components"]["predictor"]["traffic"]
    with rig.controller.held():
        rig.cluster.set_status(service, status)

        found = rig.place().direct("4")

    inside = f"{NAMESPACE}.svc.cluster.local"
    assert found == Route(f"http://{NAME}-predictor-00002.{inside}{MODEL}", version="4")


def test_requests_never_go_to_the_newest_that_is_ready_while_that_is_the_candidate(rig):
    """The stable version's new revision takes its time; until then the old one has everything."""
    rig.launched()
    rig.shared(50)
    rig.controller.workloads.set_fate(f"{STORAGE}/3", Fate.WAITING)
    for _ in range(3):
        with pytest.raises(UnfinishedError, match="version 3 gets all requests"):
            rig.place().withdraw(CANDIDATE)
        rig.controller.settle()
        assert rig.shares() == {"3": 100}

    rig.controller.workloads.set_fate(f"{STORAGE}/3", Fate.READY)
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.shares() == {"3": 100}
    assert "canaryTrafficPercent" not in rig.service()["spec"]["predictor"]


def test_withdrawn_before_knative_has_seen_it(rig):
    """No revision of it was ever made, and none is waited for."""
    with rig.controller.held():
        rig.place().launch(CANDIDATE)
        assert rig.place().readiness(CANDIDATE).standing is Standing.STARTING
        with pytest.raises(UnfinishedError):
            rig.place().withdraw(CANDIDATE)
    rig.carry_out(lambda place: place.withdraw(CANDIDATE))

    assert rig.shares() == {"3": 100}
    assert rig.place().stable() == "3"


def test_a_revision_that_fails_says_why(rig):
    """In Knative's words."""
    rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.NO_IMAGE)
    rig.carry_out(lambda place: place.launch(CANDIDATE))

    found = rig.place().readiness(CANDIDATE)

    assert found.standing is Standing.FAILED
    assert "Unable to fetch image" in found.reason


@pytest.mark.parametrize(
    ("fate", "told"), [(Fate.WAITING, "pods is ready$"), (Fate.CRASHING, "exited with 1 no such")]
)
def test_a_revision_that_has_lost_its_pods_is_ready_no_more(rig, fate, told):
    """Knative goes on calling it the newest that is ready, and healthy."""
    rig.launched()
    rig.shared(25)
    rig.controller.workloads.set_fate(f"{STORAGE}/4", fate)
    rig.controller.settle()
    status = rig.service()["status"]["components"]["predictor"]
    assert status["latestReadyRevision"] == status["latestCreatedRevision"]

    found = rig.place().readiness(CANDIDATE)

    assert found.standing is Standing.STARTING
    assert re.search(told, found.reason)


def test_what_knative_says_of_its_containers_counts(rig):
    """As far as it does."""
    rig.launched()
    revision = rig.cluster.get("Revision", f"{NAME}-predictor-00002", NAMESPACE)
    for each in revision["status"]["conditions"]:
        each |= {"status": "False", "message": f"{each['type']} is no more"}
    with rig.controller.held():
        rig.cluster.set_status(revision, revision["status"])

        found = rig.place().readiness(CANDIDATE)

    assert (found.standing, found.reason) == (Standing.STARTING, "ContainerHealthy is no more")


def test_a_revision_that_may_be_scaled_to_zero_is_ready_without_pods(clients):
    """The next request starts one; but one that ends again and again is none."""
    with rigged(MODES["knative"], clients, service(minReplicas=0)) as rig:
        rig.launched()
        rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.WAITING)
        rig.controller.settle()
        assert rig.pods("4") == 0
        assert rig.place().readiness(CANDIDATE).standing is Standing.READY

        rig.controller.workloads.set_fate(f"{STORAGE}/4", Fate.CRASHING)
        rig.controller.settle()
        assert rig.place().readiness(CANDIDATE).standing is Standing.STARTING


def test_a_share_of_somebody_elses_is_not_touched(rig):
    """What would be the stable version then."""
    patch = {"spec": {"predictor": {"canaryTrafficPercent": 20, "timeout": 50}}}
    rig.cluster.patch("InferenceService", NAME, patch, NAMESPACE)
    rig.controller.settle()

    with pytest.raises(RolloutError, match="canaryTrafficPercent of somebody else's, 20"):
        rig.place().launch(CANDIDATE)


def test_there_must_be_a_revision_to_go_back_to(clients):
    """Where none was rolled out before KServe gives the newest everything, whatever its share."""
    with rigged(MODES["knative"], clients, fate=Fate.WAITING) as rig:
        with pytest.raises(UnfinishedError, match="not ready, or changing"):
            rig.place().launch(CANDIDATE)

        rig.controller.workloads.set_fate(f"{STORAGE}/3", Fate.READY)
        rig.controller.settle()
        rig.launched()
        assert rig.shares() == {"3": 100}


def test_a_kserve_that_writes_no_mode_is_known_by_its_revisions():
    """Before 0.15.1, and where the mode is the default and no annotation names it."""
    status = {"components": {"predictor": {"latestCreatedRevision": "classifier-00001"}}}
    assert deployment_mode({"metadata": {}, "status": status}) == KNATIVE
    standard = {"metadata": {}, "status": {**status, "deploymentMode": "RawDeployment"}}
    assert deployment_mode(standard) == STANDARD


def test_where_nothing_says_the_mode_it_is_said_what_would(cluster, client):
    """The controller is not there, or too old to write it; by revisions it is known."""
    thing = service()
    del thing["metadata"]["annotations"]
    cluster.create(thing)
    site = Site(client, NAME, Sources())

    with pytest.raises(RolloutError, match=f"older than 0.15.1 .* {MODE}"):
        place_of(site, Options())
    predictor = {"latestCreatedRevision": f"{NAME}-predictor-00001"}
    cluster.set_status(site.read(), {"components": {"predictor": predictor}})
    assert "Knative mode" in place_of(site, Options()).title
