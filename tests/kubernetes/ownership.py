"""Who set which field (``managedFields``), and server-side apply, which goes by it.

A field is a path of FieldsV1 steps: ``("f:spec", "f:containers", 'k:{"name":"main"}', "f:image")``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.kubernetes.refusals import Object, owned_by_others
from tests.kubernetes.resources import Schema
from tests.kubernetes.store import copied

Path = tuple[str, ...]
ITSELF = "."
# Of metadata, what belongs to whoever sets it; the rest is the API server's.
METADATA = ("f:labels", "f:annotations", "f:ownerReferences", "f:finalizers")


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, how, and through which version and subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    def __str__(self) -> str:
        told = f'"{self.name}"'
        if self.subresource:
            told += f' with subresource "{self.subresource}"'
        return f"{told} using {self.api_version}" if self.operation == "Update" else told


Owned = dict[Manager, set[Path]]


def fields(thing: Object, schema: Schema) -> dict[Path, Any]:
    """The object's fields that can be owned, and their values."""
    found = {}
    for path, value in _walk(thing, schema, ()):
        if path[0] in ("f:apiVersion", "f:kind"):
            continue
        if path[0] == "f:metadata" and (len(path) < 2 or path[1] not in METADATA):
            continue
        found[path] = value
    return found


def _walk(value: Any, schema: Schema, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        for name, each in value.items():
            yield from _walk(each, _field(schema, name), (*path, f"f:{name}"))
    elif isinstance(value, list) and schema.get("x-kubernetes-list-type") in ("map", "set"):
        for step, each in _steps(value, schema):
            yield (*path, step, ITSELF), None
            if isinstance(each, dict):
                yield from _walk(each, schema.get("items") or {}, (*path, step))
    elif path:
        yield path, value


def _field(schema: Schema, name: str) -> Schema:
    known: Schema | None = (schema.get("properties") or {}).get(name)
    if known is not None:
        return known
    more = schema.get("additionalProperties")
    return more if isinstance(more, dict) else {}


def _steps(items: list[Any], schema: Schema) -> Iterator[tuple[str, Any]]:
    keys = schema.get("x-kubernetes-list-map-keys")
    defaults = (schema.get("items") or {}).get("properties") or {}
    for each in items:
        if keys is None:
            yield f"v:{json.dumps(each)}", each
        else:
            key = {name: each.get(name, defaults.get(name, {}).get("default")) for name in keys}
            key = {name: value for name, value in key.items() if value is not None}
            yield "k:" + json.dumps(key, separators=(",", ":"), sort_keys=True), each


def read(thing: Object) -> Owned:
    """What the object's managedFields say."""
    owned: Owned = {}
    for entry in thing["metadata"].get("managedFields") or ():
        manager = Manager(
            entry.get("manager", ""),
            entry["operation"],
            entry["apiVersion"],
            entry.get("subresource", ""),
        )
        owned[manager] = set(_paths(entry.get("fieldsV1") or {}, ()))
    return owned


def _paths(tree: Object, path: Path) -> Iterator[Path]:
    for step, below in tree.items():
        if below:
            yield from _paths(below, (*path, step))
        else:
            yield (*path, step)


def write(thing: Object, owned: Owned, now: str) -> None:
    """Say so in the object's managedFields, in place; who owns what he did keeps his time."""
    times = {
        json.dumps(entry["fieldsV1"], sort_keys=True): entry.get("time", now)
        for entry in thing["metadata"].get("managedFields") or ()
    }
    entries = []
    for manager, paths in owned.items():
        if paths:
            tree: Object = {}
            for path in sorted(paths):
                below = tree
                for step in path:
                    below = below.setdefault(step, {})
            entry = {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
                "time": times.get(json.dumps(tree, sort_keys=True), now),
                "fieldsType": "FieldsV1",
                "fieldsV1": tree,
            }
            if manager.subresource:
                entry["subresource"] = manager.subresource
            entries.append(entry)
    thing["metadata"]["managedFields"] = entries


def after_update(before: Object | None, after: Object, schema: Schema, manager: Manager) -> Owned:
    """Who owns what after ``manager`` has changed the object: what he changed is his alone."""
    were = fields(before, schema) if before else {}
    are = fields(after, schema)
    touched = {path for path, value in are.items() if path not in were or were[path] != value}
    owned = read(before) if before else {}
    owned = {
        each: {path for path in paths if path in are} - touched for each, paths in owned.items()
    }
    if touched:
        owned[manager] = owned.get(manager, set()) | touched
    return owned


def applied(
    live: Object | None, wanted: Object, schema: Schema, manager: Manager, *, force: bool
) -> tuple[Object, Owned]:
    """The object after a server-side apply of ``wanted``, and who then owns what.

    Raises:
        RefusedError: 409, others have set fields to something else, and there is no ``force``.
    """
    asked = fields(wanted, schema)
    if live is None:
        return copied(wanted), {manager: set(asked)}
    have = fields(live, schema)
    owned = read(live)
    others = {each: paths for each, paths in owned.items() if each != manager}
    differing = {path for path, value in asked.items() if path in have and have[path] != value}
    conflicts = [
        (str(each), shown(path))
        for each, paths in others.items()
        for path in sorted(paths & differing)
    ]
    if conflicts and not force:
        raise owned_by_others(conflicts)
    kept = set().union(*others.values()) if others else set()
    result = _merged(live, wanted, schema)
    for path in sorted(owned.get(manager, set()) - set(asked) - kept, key=len, reverse=True):
        _drop(result, schema, path)
    others = {each: paths - differing for each, paths in others.items()}
    return result, {**others, manager: set(asked)}


def _merged(live: Any, wanted: Any, schema: Schema) -> Any:
    if isinstance(wanted, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        result = dict(live) if isinstance(live, dict) else {}
        for name, each in wanted.items():
            result[name] = _merged(result.get(name), each, _field(schema, name))
        return result
    if isinstance(wanted, list) and schema.get("x-kubernetes-list-type") in ("map", "set"):
        items = dict(_steps(live or [], schema))
        for step, each in _steps(wanted, schema):
            items[step] = _merged(items.get(step), each, schema.get("items") or {})
        return list(items.values())
    return copied(wanted)


def _drop(value: Any, schema: Schema, path: Sequence[str]) -> None:
    """Remove a field, in place, and what is left empty by it."""
    step, rest = path[0], path[1:]
    if isinstance(value, dict) and step.startswith("f:"):
        name = step[2:]
        if rest and isinstance(value.get(name), (dict, list)):
            _drop(value[name], _field(schema, name), rest)
        if not rest or not value.get(name):
            value.pop(name, None)
    elif isinstance(value, list):
        for index, (have, each) in enumerate(list(_steps(value, schema))):
            if have == step and rest == (ITSELF,):
                del value[index]
            elif have == step and rest:
                _drop(each, schema.get("items") or {}, rest)


def shown(path: Iterable[str]) -> str:
    """The path as messages have it: ``.spec.containers[name="main"].image``."""
    told = ""
    for step in path:
        sort, _, rest = step.partition(":")
        if sort == "f":
            told += f".{rest}"
        elif sort == "k":
            keys = json.loads(rest)
            told += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in keys.items()) + "]"
        elif sort == "v":
            told += f"[={rest}]"
    return told
