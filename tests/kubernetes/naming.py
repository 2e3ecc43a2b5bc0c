"""What the API allows of an object's metadata, whatever its kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.kubernetes.refusals import Object, Problem

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_KEY = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
ANNOTATIONS_BYTES = 256 * 1024
CONFIG_MAP_BYTES = 1024 * 1024


def problems(metadata: Object) -> Iterator[Problem]:
    """What of a name, labels and annotations is refused."""
    name = metadata.get("name", "")
    if not re.fullmatch(_SUBDOMAIN, name) or len(name) > 253:
        yield Problem("metadata.name", "FieldValueInvalid", f'Invalid value: "{name}": {_NAME}')
    for key, value in (metadata.get("labels") or {}).items():
        yield from _key("metadata.labels", key)
        if not re.fullmatch(_LABEL, value):
            yield _invalid("metadata.labels", value, _VALUE)
        elif len(value) > 63:
            yield _invalid("metadata.labels", value, "must be no more than 63 characters")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _key("metadata.annotations", key.lower())
    if (
        sum(len(key) + len(value.encode()) for key, value in annotations.items())
        > ANNOTATIONS_BYTES
    ):
        words = f"Too long: may not be more than {ANNOTATIONS_BYTES} bytes"
        yield Problem("metadata.annotations", "FieldValueTooLong", words)


def config_map(thing: Object) -> Iterator[Problem]:
    """What of a ConfigMap is too much."""
    size = sum(len(str(each).encode()) for each in (thing.get("data") or {}).values())
    if size > CONFIG_MAP_BYTES:
        words = f"Too long: may not be more than {CONFIG_MAP_BYTES} bytes"
        yield Problem("[]", "FieldValueTooLong", words)


def _key(field: str, key: str) -> Iterator[Problem]:
    prefix, slash, name = key.rpartition("/")
    if slash and not re.fullmatch(_SUBDOMAIN, prefix):
        yield _invalid(field, key, f"prefix part {_NAME}")
    if not re.fullmatch(_KEY, name):
        yield _invalid(field, key, f"name part {_PART}")
    elif len(name) > 63:
        yield _invalid(field, key, "name part must be no more than 63 characters")


def _invalid(field: str, value: Any, words: str) -> Problem:
    return Problem(field, "FieldValueInvalid", f'Invalid value: "{value}": {words}')


_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'example.com', regex used for"
    f" validation is '{_SUBDOMAIN}')"
)
_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.',"
    " and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or"
    f" '12345', regex used for validation is '{_LABEL}')"
)
_PART = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for"
    f" validation is '{_KEY}')"
)
