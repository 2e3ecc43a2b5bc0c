"""The cluster, and the real client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.kubernetes.cluster import Cluster, running


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster with KServe 0.20's kinds and the Gateway API's; nothing reconciles them."""
    with running("kserve-0.20.0", "gateway-api") as cluster:
        yield cluster


@pytest.fixture
def api(cluster: Cluster, tmp_path: Path) -> Iterator[client.ApiClient]:
    """The official client, as an administrator."""
    with connected(cluster.kubeconfig(tmp_path)) as api:
        yield api


def connected(kubeconfig: Path) -> client.ApiClient:
    """The official client by a kubeconfig; to be left as a context."""
    return config.new_client_from_config(str(kubeconfig))
