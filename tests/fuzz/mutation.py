"""Changes to the JSON inside an input: single bytes changed at random mostly end JSON there."""

from __future__ import annotations

from random import Random
from typing import Any

import orjson

WILD: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 256, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1),
    *(0.0, -0.0, 0.5, 1.0, 1e308, 1e-308),
    *(True, False, None, "", "7", "\n", "é", "aQ==", "aQ=", "x" * 50),
    *([], {}, [[]], [1, [2]], [None], {"": None}),
)


def change_json(data: bytes, words: tuple[str, ...], seed: int) -> bytes:
    """Change one place of the JSON object in ``data``; unchanged where there is none."""
    begin, end = data.find(b"{"), data.rfind(b"}") + 1
    try:
        content = orjson.loads(data[begin:end])
    except orjson.JSONDecodeError:
        return data
    random = Random(seed)
    container, key = random.choice(list(_places(content)) or [({}, "")])
    _change(container, key, words, random)
    return data[:begin] + orjson.dumps(content) + data[end:]


def _places(content: Any) -> Any:
    """Every container in ``content`` with each of its keys."""
    waiting = [content]
    while waiting:
        container = waiting.pop()
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            yield container, key
            if isinstance(container[key], list | dict):
                waiting.append(container[key])


def _change(container: Any, key: Any, words: tuple[str, ...], random: Random) -> None:
    old = container.get(key) if isinstance(container, dict) else container[key]
    new = random.choice([*WILD, *words, [old], [old, old], {random.choice(words): old}])
    match random.randrange(4):
        case 0 if isinstance(container, dict):
            container[random.choice(words)] = new
        case 0:
            container.insert(random.randrange(len(container) + 1), new)
        case 1 if key in container or isinstance(container, list):
            del container[key]
        case _:
            container[key] = new
