"""The emulation of KServe in Knative (Serverless) mode: revisions and their shares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.cluster import Cluster, running
from tests.kubernetes.kserve_controller import Controller, kserve_running
from tests.kubernetes.kserve_names import KServe, Mode
from tests.kubernetes.test_objects import service
from tests.kubernetes.workloads import Fate


@pytest.fixture(params=["0.15.2", "0.20.0"])
def kserve(request: pytest.FixtureRequest) -> KServe:
    """Either KServe."""
    return KServe(request.param, default_mode=Mode.KNATIVE)


@pytest.fixture
def cluster(kserve: KServe) -> Iterator[Cluster]:
    """With Knative."""
    with running(f"kserve-{kserve.version}", "gateway-api", "knative-serving") as cluster:
        yield cluster


@pytest.fixture
def controller(cluster: Cluster, kserve: KServe) -> Iterator[Controller]:
    """Its KServe."""
    with kserve_running(cluster, kserve) as controller:
        yield controller


def share(version: int, percent: int | None) -> dict[str, Any]:
    """A patch to that version of the model, and so much of the traffic."""
    model = {"storageUri": f"pvc://models/shop/{version}"}
    return {"spec": {"predictor": {"canaryTrafficPercent": percent, "model": model}}}


def predictor(cluster: Cluster) -> dict[str, Any]:
    """Its component in the status."""
    status = cluster.get("InferenceService", "shop")["status"]
    found: dict[str, Any] = status["components"]["predictor"]
    return found


def shares(cluster: Cluster) -> dict[str, int]:
    """Percent by revision."""
    return {each["revisionName"]: each["percent"] for each in predictor(cluster)["traffic"]}


def test_a_canary_is_the_newest_revision_with_its_share(
    cluster: Cluster, controller: Controller
) -> None:
    """From dark to full: the share moves, revisions and their pods stay as they are."""
    cluster.create(service())
    controller.settle()
    assert predictor(cluster)["latestRolledoutRevision"] == "shop-predictor-00001"
    assert shares(cluster) == {"shop-predictor-00001": 100}
    cluster.patch("InferenceService", "shop", share(2, 0))
    controller.settle()
    assert shares(cluster) == {"shop-predictor-00002": 0, "shop-predictor-00001": 100}
    previous = next(each for each in predictor(cluster)["traffic"] if "tag" in each)
    assert previous["url"] == "http://prev-shop-predictor.default.example.com"
    for percent in (5, 50):
        cluster.patch("InferenceService", "shop", share(2, percent))
        controller.settle()
        assert shares(cluster) == {
            "shop-predictor-00002": percent,
            "shop-predictor-00001": 100 - percent,
        }
    assert predictor(cluster)["latestRolledoutRevision"] == "shop-predictor-00001"
    cluster.patch("InferenceService", "shop", share(2, None))
    controller.settle()
    found = predictor(cluster)
    assert found["latestRolledoutRevision"] == "shop-predictor-00002"
    assert found["previousRolledoutRevision"] == "shop-predictor-00001"
    assert shares(cluster) == {"shop-predictor-00002": 100}
    assert len(cluster.list("Revision")) == 2


def test_a_revision_that_does_not_become_ready_gets_nothing(
    cluster: Cluster, controller: Controller
) -> None:
    """The last that was ready goes on; the condition says why."""
    cluster.create(service())
    controller.settle()
    controller.workloads.set_fate("pvc://models/shop/2", Fate.CRASHING)
    cluster.patch("InferenceService", "shop", share(2, 10))
    controller.settle()
    found = predictor(cluster)
    assert found["latestCreatedRevision"] == "shop-predictor-00002"
    assert found["latestReadyRevision"] == "shop-predictor-00001"
    assert set(shares(cluster)) == {"shop-predictor-00001"}
    status = cluster.get("InferenceService", "shop")["status"]
    ready = {each["type"]: each for each in status["conditions"]}["PredictorReady"]
    assert (ready["status"], ready["reason"]) == ("False", "RevisionFailed")
    assert status["modelStatus"]["states"]["targetModelState"] == "FailedToLoad"


def test_back_to_the_old_model_is_a_new_revision_of_it(
    cluster: Cluster, controller: Controller
) -> None:
    """A template is never used again: the third has the first's model."""
    cluster.create(service())
    controller.settle()
    cluster.patch("InferenceService", "shop", share(2, 10))
    controller.settle()
    cluster.patch("InferenceService", "shop", share(1, None))
    controller.settle()
    assert shares(cluster) == {"shop-predictor-00003": 100}
    assert predictor(cluster)["latestRolledoutRevision"] == "shop-predictor-00003"
