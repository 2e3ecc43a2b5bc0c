"""Images that several modules look at are built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.manifests.images import PREDICTOR, Image, built, demand_builder


@pytest.fixture(scope="session")
def image() -> Iterator[Image]:
    """The predictor's."""
    demand_builder()
    with built(PREDICTOR) as made:
        yield made
