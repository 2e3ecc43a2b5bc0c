"""The three patches of the API: JSON (RFC 6902), merge (RFC 7386) and strategic merge."""

from __future__ import annotations

import copy
from typing import Any

from tests.kubernetes.refusals import RefusedError, bad_request
from tests.kubernetes.resources import Schema

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def merged(value: Any, patch: Any) -> Any:
    """``value`` with a merge patch: objects field by field, null removes, all else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, dict) else {}
    for name, each in patch.items():
        if each is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), each)
    return result


def strategic(value: Any, patch: Any, schema: Schema) -> Any:
    """As ``merged``, but lists that have a merge key are merged item by item."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, dict) else {}
    known = schema.get("properties") or {}
    more = schema.get("additionalProperties")
    for name, each in patch.items():
        field = known.get(name) or (more if isinstance(more, dict) else {})
        if each is None:
            result.pop(name, None)
        elif isinstance(each, list) and field.get("x-kubernetes-patch-strategy") == "merge":
            result[name] = _items(result.get(name) or [], each, field)
        else:
            result[name] = strategic(result.get(name), each, field)
    return result


def _items(value: list[Any], patch: list[Any], field: Schema) -> list[Any]:
    key = field.get("x-kubernetes-patch-merge-key")
    result = list(value)
    for each in patch:
        if key is None:
            if each not in result:
                result.append(each)
            continue
        index = next((i for i, have in enumerate(result) if have.get(key) == each.get(key)), None)
        if each.get("$patch") == "delete":
            if index is not None:
                del result[index]
        elif index is None:
            result.append(copy.deepcopy(each))
        else:
            result[index] = strategic(result[index], each, field.get("items") or {})
    return result


def changed(value: Any, operations: Any) -> Any:
    """``value`` after the operations of a JSON patch.

    Raises:
        RefusedError: 422 where a ``test`` fails or a path leads nowhere, 400 of what is no patch.
    """
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document = {"": copy.deepcopy(value)}
    for operation in operations:
        _apply(document, operation)
    return document[""]


def _apply(document: dict[str, Any], operation: dict[str, Any]) -> None:
    verb, path = operation.get("op", ""), operation.get("path", "")
    if verb in ("move", "copy"):
        held = copy.deepcopy(_get(document, operation["from"], verb))
        if verb == "move":
            _remove(document, operation["from"])
        _add(document, path, held)
    elif verb == "test":
        if _get(document, path, verb, None) != operation.get("value"):
            raise _refused(f"testing value {path} failed")
    elif verb == "add":
        _add(document, path, operation.get("value"))
    elif verb == "remove":
        _remove(document, path)
    elif verb == "replace":
        _get(document, path, verb)
        _remove(document, path)
        _add(document, path, operation.get("value"))
    else:
        raise bad_request(f"Unexpected kind: {verb}")


def _refused(why: str) -> RefusedError:
    message = f"the server rejected our request due to an error in our request: {why}"
    return RefusedError(422, "Invalid", message, {})


_ABSENT = object()


def _steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


def _parent(document: Any, path: str, verb: str) -> tuple[Any, str]:
    *steps, last = _steps(path)
    where = document
    for step in steps:
        where = _child(where, step)
        if where is _ABSENT:
            raise _refused(f'{verb} operation does not apply: doc is missing path: "{path}"')
    return where, last


def _child(where: Any, step: str) -> Any:
    if isinstance(where, dict):
        return where.get(step, _ABSENT)
    if isinstance(where, list) and step.isdigit() and int(step) < len(where):
        return where[int(step)]
    return _ABSENT


def _get(document: Any, path: str, verb: str, absent: Any = _ABSENT) -> Any:
    where, last = _parent(document, path, verb)
    found = _child(where, last)
    if found is not _ABSENT:
        return found
    if absent is _ABSENT:
        raise _refused(
            f"{verb} operation does not apply: doc is missing key: {path}: missing value"
        )
    return absent


def _add(document: Any, path: str, value: Any) -> None:
    where, last = _parent(document, path, "add")
    if isinstance(where, list):
        where.insert(len(where) if last == "-" else int(last), copy.deepcopy(value))
    else:
        where[last] = copy.deepcopy(value)


def _remove(document: Any, path: str) -> None:
    _get(document, path, "remove")
    where, last = _parent(document, path, "remove")
    del where[int(last) if isinstance(where, list) else last]
