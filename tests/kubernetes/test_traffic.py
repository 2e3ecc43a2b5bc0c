"""The gateway sends real requests where the cluster's routes say, in the shares that they say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.kubernetes.backends import Pod, pod_running
from tests.kubernetes.cluster import Cluster, running
from tests.kubernetes.kserve_controller import kserve_running
from tests.kubernetes.kserve_names import KServe, Mode
from tests.kubernetes.test_kserve_knative import share
from tests.kubernetes.test_kserve_standard import canary
from tests.kubernetes.test_objects import service
from tests.kubernetes.traffic import Gateway, gateway
from tests.kubernetes.workloads import Fate

HOST = "shop-default.example.com"


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    """Versions 1 and 2 of the model."""
    with pod_running("shop", "1") as one, pod_running("shop", "2") as two:
        yield [one, two]


@pytest.fixture
def way(cluster: Cluster, pods: list[Pod]) -> Iterator[Gateway]:
    """The gateway, to both versions."""
    with gateway(cluster) as way:
        for pod in pods:
            way.serve(f"pvc://models/shop/{pod.version}", pod.url)
        yield way


def answers(way: Gateway, times: int, host: str = HOST, **headers: str) -> Counter[Any]:
    """The versions that answered so many inferences; codes of those that failed."""
    found: Counter[Any] = Counter()
    for _ in range(times):
        url = f"{way.url}/v2/models/shop/infer"
        reply = httpx.post(url, json={}, headers={"Host": host, **headers})
        found[
            json.loads(reply.text)["model_version"] if reply.is_success else reply.status_code
        ] += 1
    return found


def test_a_canary_that_kserve_weighs_has_its_share(
    cluster: Cluster, way: Gateway, pods: list[Pod]
) -> None:
    """Of 40 requests at 25 %, ten; counted, and with KServe's headers."""
    with kserve_running(cluster, KServe(weighs_canaries=True)) as controller:
        cluster.create(service())
        cluster.patch("InferenceService", "shop", canary(25))
        controller.settle()
        assert answers(way, 40) == {"1": 30, "2": 10}
    assert way.by_model(HOST) == {"pvc://models/shop/1": 30, "pvc://models/shop/2": 10}
    assert pods[1].requests[0][1]["kserve-isvc-name"] == "shop"


def test_a_canary_of_v0_20_0_has_none(cluster: Cluster, way: Gateway) -> None:
    """But can be asked by its Service's own name."""
    with kserve_running(cluster) as controller:
        cluster.create(service())
        cluster.patch("InferenceService", "shop", canary(25))
        controller.settle()
        assert answers(way, 10) == {"1": 10}
        assert answers(way, 2, "shop-v2-predictor.default.svc.cluster.local") == {"2": 2}


def test_a_route_of_ones_own_weighs_and_goes_by_headers(cluster: Cluster, way: Gateway) -> None:
    """The rule with more of them first; a weight of nought gets nothing."""
    with kserve_running(cluster) as controller:
        cluster.create(service())
        cluster.patch("InferenceService", "shop", canary(25))
        controller.settle()
        names = ("shop-predictor", "shop-v2-predictor")
        weighed = [
            {"name": name, "port": 80, "weight": weight}
            for name, weight in zip(names, (100, 0), strict=True)
        ]
        wanted = {"headers": [{"name": "x-version", "value": "2"}]}
        rules = [
            {"backendRefs": weighed},
            {"matches": [wanted], "backendRefs": [{"name": names[1], "port": 80}]},
        ]
        cluster.create(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "HTTPRoute",
                "metadata": {"name": "own"},
                "spec": {
                    "hostnames": ["shop.test"],
                    "parentRefs": [{"name": "gateway"}],
                    "rules": rules,
                },
            }
        )
        controller.settle()
        assert answers(way, 5, "shop.test") == {"1": 5}
        assert answers(way, 2, "shop.test", **{"x-version": "2"}) == {"2": 2}
        assert answers(way, 1, "else.test") == {404: 1}


def test_pods_that_are_not_ready_get_nothing(cluster: Cluster, way: Gateway) -> None:
    """503, as from a gateway without a healthy backend."""
    with kserve_running(cluster) as controller:
        cluster.create(service())
        controller.settle()
        controller.workloads.set_fate("pvc://models/shop/1", Fate.WAITING)
        controller.settle()
        assert answers(way, 2) == {503: 2}


def test_knatives_revisions_have_their_shares(pods: list[Pod]) -> None:
    """By the InferenceService's host; the previous one by its tag's as well."""
    with (
        running("kserve-0.20.0", "gateway-api", "knative-serving") as cluster,
        kserve_running(cluster, KServe(default_mode=Mode.KNATIVE)) as controller,
        gateway(cluster) as way,
    ):
        for pod in pods:
            way.serve(f"pvc://models/shop/{pod.version}", pod.url)
        cluster.create(service())
        controller.settle()
        cluster.patch("InferenceService", "shop", share(2, 20))
        controller.settle()
        assert answers(way, 20, "shop.default.example.com") == {"1": 16, "2": 4}
        assert answers(way, 3, "prev-shop-predictor.default.example.com") == {"1": 3}
