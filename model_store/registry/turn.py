"""One change of a model's aliases at a time, whoever makes it from wherever.

MLflow has no operation that compares before it sets, so those who want to change aliases stand in a
queue made of the model's own tags: Lamport's bakery algorithm, which needs nothing but reads and
writes (A New Solution of Dijkstra's Concurrent Programming Problem, CACM 17:8, 1974).
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator

from model_store.errors import ModelStoreError
from model_store.registry.connection import speaking_to
from model_store.registry.versions import TAG, Registry

_TURN = f"{TAG}turn."
_CHOOSING = "0"
LOOK_S = 0.05
# A change takes a few requests. Whoever stands still for so long has died, and its place goes.
DEAD_S = 30.0


@contextlib.contextmanager
def turn(registry: Registry, name: str) -> Iterator[None]:
    """Let nobody else change the aliases of the model ``name`` meanwhile.

    Raises:
        RegistryError: there is no such model, or the registry does not answer.
    """
    mine = _TURN + uuid.uuid4().hex
    _tag(registry, name, mine, _CHOOSING)
    try:
        number = 1 + max((int(value) for value in _queue(registry, name).values()), default=0)
        _tag(registry, name, mine, str(number))
        _wait(registry, name, mine, number)
        yield
    finally:
        # Whoever is next waits DEAD_S if this does not get through.
        with contextlib.suppress(ModelStoreError), speaking_to(registry.uri):
            registry.client.delete_registered_model_tag(name, mine)


def _wait(registry: Registry, name: str, mine: str, number: int) -> None:
    since: dict[tuple[str, str], float] = {}
    while True:
        now = time.monotonic()
        before = [
            (other, value)
            for other, value in _queue(registry, name).items()
            if other != mine and (value == _CHOOSING or (int(value), other) < (number, mine))
        ]
        if not before:
            return
        for place in before:
            if now - since.setdefault(place, now) > DEAD_S:
                with contextlib.suppress(ModelStoreError), speaking_to(registry.uri):
                    registry.client.delete_registered_model_tag(name, place[0])
        time.sleep(LOOK_S)


def _tag(registry: Registry, name: str, key: str, value: str) -> None:
    with speaking_to(registry.uri):
        registry.client.set_registered_model_tag(name, key, value)


def _queue(registry: Registry, name: str) -> dict[str, str]:
    """Who stands in the queue, and with which number."""
    with speaking_to(registry.uri):
        tags = registry.client.get_registered_model(name).tags
    return {key: value for key, value in tags.items() if key.startswith(_TURN) and value.isdigit()}
