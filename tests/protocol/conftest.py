"""Servers that the tests of a module share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.protocol.server import Served, served


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    """One server with room for everything."""
    with served() as server:
        yield server


@pytest.fixture(scope="module")
def hasty() -> Iterator[Served]:
    """One server that waits for nobody."""
    with served(timeout_s=0.3, keep_alive_s=1) as server:
        yield server
