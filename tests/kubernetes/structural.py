"""Structural schemas as an API server uses them: unknown fields go, defaults set, values checked.

The rules in CEL that some CRDs bring (Gateway API's, 52 of them) are not evaluated.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.kubernetes.refusals import Problem
from tests.kubernetes.resources import Schema

OPEN = "x-kubernetes-preserve-unknown-fields"
ALWAYS = ("apiVersion", "kind")


def prune(value: Any, schema: Schema, path: str = "") -> Iterator[str]:
    """Drop, in place, the fields that the schema does not know; gives their paths."""
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from prune(each, schema.get("items") or {}, f"{path}[{index}]")
    elif isinstance(value, dict):
        known = schema.get("properties")
        more = schema.get("additionalProperties")
        for name in list(value):
            at = f"{path}.{name}" if path else name
            if known is not None and name in known:
                yield from prune(value[name], known[name], at)
            elif isinstance(more, dict):
                yield from prune(value[name], more, at)
            elif _closed(schema) and (path or name not in ALWAYS):
                del value[name]
                yield at


def _closed(schema: Schema) -> bool:
    return not (schema.get(OPEN) or schema.get("additionalProperties")) and "properties" in schema


def default(value: Any, schema: Schema) -> None:
    """Set, in place, what the schema says of fields that are absent."""
    if isinstance(value, list):
        for each in value:
            default(each, schema.get("items") or {})
    elif isinstance(value, dict):
        known = schema.get("properties") or {}
        for name, field in known.items():
            if "default" in field and (name not in value or _null(value[name], field)):
                value[name] = copy.deepcopy(field["default"])
        more = schema.get("additionalProperties")
        for name, each in value.items():
            default(each, known.get(name) or (more if isinstance(more, dict) else {}))


def _null(value: Any, schema: Schema) -> bool:
    return value is None and not schema.get("nullable")


def problems(value: Any, schema: Schema, path: str = "") -> Iterator[Problem]:
    """What of ``value`` the schema does not allow, with the API server's words."""
    wrong = _mistyped(value, schema, path)
    if wrong:
        yield wrong
        return
    for check in _CHECKS.get(type(value), ()):
        yield from check(value, schema, path)
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from problems(each, schema.get("items") or {}, f"{path}[{index}]")
    elif isinstance(value, dict):
        known = schema.get("properties") or {}
        more = schema.get("additionalProperties")
        for name, each in value.items():
            field = known.get(name) or (more if isinstance(more, dict) else {})
            yield from problems(each, field, f"{path}.{name}" if path else name)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_JSON = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}


def _mistyped(value: Any, schema: Schema, path: str) -> Problem | None:
    wanted = schema.get("type")
    if isinstance(wanted, list):  # Kubernetes' own: ["string", "null"]
        wanted = wanted[0]
        if value is None:
            return None
    if wanted is None or (value is None and schema.get("nullable")):
        return None
    right = isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or type(value) is not bool)
    if right or (wanted == "integer" and isinstance(value, float) and value.is_integer()):
        return None
    shown = "null" if value is None else f'"{_JSON.get(type(value), "number")}"'
    message = f"Invalid value: {shown}: {path} in body must be of type {wanted}: {shown}"
    return Problem(path, "FieldValueTypeInvalid", message)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def _supported(value: Any, schema: Schema, path: str) -> Iterator[Problem]:
    allowed = schema.get("enum")
    if allowed and value not in allowed:
        names = ", ".join(_quoted(each) for each in allowed)
        message = f"Unsupported value: {_quoted(value)}: supported values: {names}"
        yield Problem(path, "FieldValueNotSupported", message)


def _number(value: float, schema: Schema, path: str) -> Iterator[Problem]:
    for bound, beyond, words in (
        ("minimum", value < schema.get("minimum", value), "greater than or equal to"),
        ("maximum", value > schema.get("maximum", value), "less than or equal to"),
    ):
        if beyond:
            message = f"{path} in body should be {words} {schema[bound]}"
            yield Problem(path, "FieldValueInvalid", f"Invalid value: {value}: {message}")
    yield from _supported(value, schema, path)


def _string(value: str, schema: Schema, path: str) -> Iterator[Problem]:
    if "minLength" in schema and len(value) < schema["minLength"]:
        words = f"{path} in body should be at least {schema['minLength']} chars long"
        yield Problem(path, "FieldValueInvalid", f'Invalid value: "{value}": {words}')
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        words = f"Too long: may not be longer than {schema['maxLength']}"
        yield Problem(path, "FieldValueTooLong", words)
    pattern = schema.get("pattern")
    if pattern and not _compiled(pattern).search(value):
        words = f"{path} in body should match '{pattern}'"
        yield Problem(path, "FieldValueInvalid", f'Invalid value: "{value}": {words}')
    yield from _supported(value, schema, path)


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _list(value: list[Any], schema: Schema, path: str) -> Iterator[Problem]:
    if "maxItems" in schema and len(value) > schema["maxItems"]:
        words = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Problem(path, "FieldValueTooMany", words)
    if "minItems" in schema and len(value) < schema["minItems"]:
        words = f"{path} in body should have at least {schema['minItems']} items"
        yield Problem(path, "FieldValueInvalid", f"Invalid value: {len(value)}: {words}")
    if schema.get("x-kubernetes-list-type") == "map":
        yield from _twins(value, schema["x-kubernetes-list-map-keys"], path)


def _twins(value: list[Any], keys: list[str], path: str) -> Iterator[Problem]:
    seen = []
    for index, each in enumerate(value):
        if isinstance(each, dict):
            key = {name: each[name] for name in keys if name in each}
            if key in seen:
                shown = "{" + ",".join(f'"{k}":{_quoted(v)}' for k, v in key.items()) + "}"
                yield Problem(
                    f"{path}[{index}]", "FieldValueDuplicate", f"Duplicate value: {shown}"
                )
            seen.append(key)


def _object(value: Schema, schema: Schema, path: str) -> Iterator[Problem]:
    for name in schema.get("required") or ():
        if name not in value:
            at = f"{path}.{name}" if path else name
            yield Problem(at, "FieldValueRequired", "Required value")


_CHECKS: dict[type, tuple[Callable[[Any, Schema, str], Iterator[Problem]], ...]] = {
    dict: (_object,),
    list: (_list,),
    str: (_string,),
    int: (_number,),
    float: (_number,),
}
