"""What goes wrong on purpose: refusals, connections that end, answers that come late."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import urllib3
from kubernetes import client

from tests.kubernetes import refusals
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import connected
from tests.kubernetes.test_objects import refusal
from tests.kubernetes.trouble import Harm


@pytest.fixture
def core(cluster: Cluster, tmp_path: Path) -> client.CoreV1Api:
    """A client that tries once: urllib3 would itself try three times."""
    with connected(cluster.kubeconfig(tmp_path)) as api:
        api.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(0)
        yield client.CoreV1Api(api)


def make(core: client.CoreV1Api) -> None:
    """A ConfigMap named state."""
    body = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"))
    core.create_namespaced_config_map("default", body)


def test_a_server_that_has_enough_to_do_says_when_to_come_again(
    cluster: Cluster, core: client.CoreV1Api
) -> None:
    """429, as often as asked for; nothing is done."""
    cluster.trouble(Harm.REFUSED, "create", "configmaps", refusal=refusals.too_many(2))
    with pytest.raises(client.ApiException) as error:
        make(core)
    assert refusal(error.value)[:2] == (429, "TooManyRequests")
    assert error.value.headers["Retry-After"] == "2"
    make(core)
    assert cluster.get("ConfigMap", "state")


@pytest.mark.parametrize(
    ("harm", "done"), [(Harm.LOST, False), (Harm.UNHEARD, True), (Harm.CUT, True)]
)
def test_a_connection_ends_before_or_after_the_deed(
    cluster: Cluster, core: client.CoreV1Api, harm: Harm, done: bool
) -> None:
    """The client cannot tell; the cluster shows whether it was done."""
    cluster.trouble(harm, "create", "configmaps")
    with pytest.raises(urllib3.exceptions.HTTPError):
        make(core)
    assert bool(cluster.get("ConfigMap", "state")) is done


def test_an_answer_waits_until_it_is_let_go(cluster: Cluster, core: client.CoreV1Api) -> None:
    """Nothing is done before."""
    held = cluster.trouble(Harm.HELD, "create", "configmaps")
    thread = threading.Thread(target=make, args=(core,))
    thread.start()
    assert held.met.wait(60)
    assert cluster.get("ConfigMap", "state") is None
    held.release.set()
    thread.join(60)
    assert cluster.get("ConfigMap", "state")


def test_a_server_that_restarts_takes_new_connections(
    cluster: Cluster, core: client.CoreV1Api
) -> None:
    """Those that were open end, a watch too."""
    make(core)
    stream = core.list_namespaced_config_map("default", watch=True, _preload_content=False)
    lines = stream.stream(1)
    next(lines)
    cluster.served.drop_connections()
    with pytest.raises(urllib3.exceptions.HTTPError):
        list(lines)
    stream.release_conn()
    assert core.read_namespaced_config_map("state", "default")
