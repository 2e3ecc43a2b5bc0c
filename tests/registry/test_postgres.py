"""The same on a registry that keeps what it knows in PostgreSQL."""

from __future__ import annotations

import threading

import pytest

from model_store.registry.location import locate
from model_store.registry.promotion import Move, promote, roll_back
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from tests.registry import postgres
from tests.registry.server import running


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory):
    """An MLflow server over a PostgreSQL of its own."""
    programs = postgres.binaries()
    if programs is None:
        pytest.skip("no initdb: install Debian's postgresql")
    with (
        postgres.running(programs) as database,
        running(tmp_path_factory.mktemp("on-postgres"), database) as server,
    ):
        yield Registry(server.uri)


def test_a_package_goes_into_a_registry_on_postgresql_and_comes_out(on_postgres, colours, tmp_path):
    """Registered, promoted by several at once, found by its alias, fetched, taken back."""
    for _ in range(3):
        register(on_postgres, colours)
    promote(on_postgres, "colours", "1")
    moves: list[Move] = []

    def climb(version: str) -> None:
        moves.append(promote(Registry(on_postgres.uri), "colours", version))

    threads = [threading.Thread(target=climb, args=(version,)) for version in ("2", "3")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    first, second = moves if moves[0].before == "1" else reversed(moves)
    assert (first.before, second.before) == ("1", first.now)
    path = locate("models:/colours@champion", tmp_path, on_postgres.uri, tmp_path / "cache")
    assert path.name == second.now
    assert roll_back(on_postgres, "colours").now == first.now
