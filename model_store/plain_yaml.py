"""YAML that others wrote, read as plain data: whatever is wrong with it is one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

# What PyYAML's constructors raise for the 99th of a month, a number of 5000 digits, ``!!bool x``…
_MALFORMED = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)


def safe_load(text: str) -> Any:
    """What ``yaml.safe_load`` gives.

    Raises:
        yaml.YAMLError: the text is no YAML, has a value that is none, or is nested too deeply.
    """
    try:
        return yaml.safe_load(text)
    except _MALFORMED as error:
        raise yaml.YAMLError(f"holds a malformed value: {error}") from error
    except RecursionError:
        raise yaml.YAMLError("is nested too deeply") from None
