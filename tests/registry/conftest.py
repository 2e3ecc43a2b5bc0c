"""One MLflow server for all tests of the registry; each test has models of its own there."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_store.package import ModelPackage
from model_store.registry.cache import Cache
from model_store.registry.registering import register
from model_store.registry.versions import RegisteredVersion, Registry
from tests.registry.server import RegistryServer, Way


@pytest.fixture(scope="session")
def registry(registry_server: RegistryServer) -> Registry:
    """A client of the server."""
    return Registry(registry_server.uri)


@pytest.fixture
def name() -> str:
    """A model that no other test has."""
    return f"model-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def put(registry: Registry, colours: ModelPackage, name: str) -> Callable[..., RegisteredVersion]:
    """Register the network of colours, or another package, as the next version of ``name``."""

    def registered(
        package: ModelPackage = colours, alias: str = "", **tags: str
    ) -> RegisteredVersion:
        return register(registry, package, name, alias, tags)

    return registered


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(tmp_path / "cache", lambda _: None)


@pytest.fixture
def way(registry_server: RegistryServer) -> Iterator[Way]:
    """A way to the server that can be broken."""
    made = Way(registry_server.port)
    yield made
    made.close()
