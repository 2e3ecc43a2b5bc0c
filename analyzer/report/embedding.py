"""Values → text that stands in a page's ``<script>`` and ends it nowhere."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGITS = 6  # significant ones; more than any figure of an analysis is sure of


def as_json(value: Any) -> str:
    """JSON in ASCII, safe between ``<script>`` tags whatever strings are in it.

    ``<`` is written as an escape, so neither ``</script>`` nor ``<!--`` can arise; names of files
    that are no Unicode (lone surrogates) and line separators are escapes as well. Floats are
    rounded to ``DIGITS``; those that JSON has no word for become null.
    """
    text = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def packed(array: NDArray[Any]) -> str:
    """An array's numbers as base64, little-endian, row by row."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
