"""YAML that others wrote, read as plain data: whatever is wrong with it is one kind of error."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

# What PyYAML's constructors raise for the 99th of a month, a number of 5000 digits, ``!!bool x``…
_MALFORMED = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)


def safe_load(text: str) -> Any:
    """What ``yaml.safe_load`` gives.

    Raises:
        yaml.YAMLError: the text is no YAML, has a value that is none, or is nested too deeply.
    """
    return _load(text, yaml.SafeLoader)


def strict_load(text: str) -> Any:
    """The same, but a key that stands twice is an error: one of the two would never count.

    Raises:
        yaml.YAMLError: as ``safe_load``, or a key stands twice.
    """
    return _load(text, _Unique)


class _Unique(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                mark = node.start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{key} stands twice", mark)
        return super().construct_mapping(node, deep)


def _load(text: str, loader: type[yaml.SafeLoader]) -> Any:
    try:
        return yaml.load(text, loader)  # noqa: S506 (a SafeLoader)
    except _MALFORMED as error:
        raise yaml.YAMLError(f"holds a malformed value: {error}") from error
    except RecursionError:
        raise yaml.YAMLError("is nested too deeply") from None
