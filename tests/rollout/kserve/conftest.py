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


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """KServe 0.20's kinds and the Gateway API's; nothing reconciles them."""
    with running("kserve-0.20.0", "gateway-api") as cluster:
        cluster.namespace(NAMESPACE)
        yield cluster


@pytest.fixture
def client_of(cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """A rollout's own client, as any user."""
    opened = []

    def client(user: User = ADMIN) -> Client:
        kubeconfig = cluster.kubeconfig(tmp_path, user, NAMESPACE)
        api, namespace = login(None, kubeconfig)
        opened.append(api)
        return Client(api, namespace)

    yield client
    for api in opened:
        api.close()
        api.rest_client.pool_manager.clear()


@pytest.fixture
def client(client_of: Callable[..., Client]) -> Client:
    """The same as an administrator."""
    return client_of()
