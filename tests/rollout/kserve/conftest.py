"""A cluster in this process, and the ways of a rollout to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout.kserve.cluster import Cluster as Client
from rollout.kserve.login import login
from tests.kubernetes.access import ADMIN, User
from tests.kubernetes.cluster import Cluster, running
from tests.rollout.kserve.objects import NAMESPACE
from tests.rollout.kserve.rig import MODES, Rig, rigged


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Of a rollout, to any cluster, as any user."""
    opened = []

    def client(cluster: Cluster, user: User = ADMIN) -> Client:
        api, namespace = login(None, cluster.kubeconfig(tmp_path, user, NAMESPACE))
        opened.append(api)
        return Client(api, namespace)

    yield client
    for api in opened:
        api.rest_client.pool_manager.clear()
        api.close()


@pytest.fixture(params=[each for each in MODES if each != "canary-keep-name"])
def rig(request: pytest.FixtureRequest, clients: Callable[..., Client]) -> Iterator[Rig]:
    """A model on KServe, in each of its modes; one that keeps names differs in promotion alone."""
    with rigged(MODES[request.param], clients) as rig:
        yield rig


@pytest.fixture
def another_rig(rig: Rig, clients: Callable[..., Client]) -> Iterator[Rig]:
    """One more of the same, to compare with."""
    with rigged(rig.mode, clients) as another:
        yield another


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """KServe 0.20's kinds and the Gateway API's; nothing reconciles them."""
    with running("kserve-0.20.0", "gateway-api") as cluster:
        cluster.namespace(NAMESPACE)
        yield cluster


@pytest.fixture
def client_of(cluster: Cluster, clients: Callable[..., Client]) -> Callable[..., Client]:
    """A rollout's own client, as any user."""
    return lambda user=ADMIN: clients(cluster, user)


@pytest.fixture
def client(client_of: Callable[..., Client]) -> Client:
    """The same as an administrator."""
    return client_of()
