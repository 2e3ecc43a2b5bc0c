"""Numbers that clients send → pixels, refusing all that are none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictor.errors import BadTensorError

NO_PIXELS = "pixels must be whole numbers from 0 to 255"
UNEVEN = "pixels must be numbers, flat or evenly nested"


def listed_pixels(values: Sequence[Any]) -> NDArray[np.uint8]:
    """Flat or evenly nested lists of numbers → uint8 of their shape.

    numpy is not asked what is in the lists: it takes true for 1 and "12" for 12, and a single long
    text among thousands of short ones makes it reserve the long one's size for each.

    Raises:
        BadTensorError: uneven nesting, something that is no number, or no pixel value.
    """
    shape, flat = _unnested(values)
    kinds = set(map(type, flat))
    if not kinds <= {int, float}:
        raise BadTensorError(UNEVEN)
    if float in kinds:
        return whole_pixels(np.array(flat, np.float64)).reshape(shape)
    try:
        return np.frombuffer(bytes(flat), np.uint8).reshape(shape)
    except ValueError:
        raise BadTensorError(NO_PIXELS) from None


def _unnested(values: Sequence[Any]) -> tuple[tuple[int, ...], list[Any]]:
    """Take nested lists apart, level by level, and say what shape they had."""
    shape = [len(values)]
    level = list(values)
    while level and isinstance(level[0], list):
        length = len(level[0])
        if set(map(type, level)) != {list} or set(map(len, level)) != {length}:
            raise BadTensorError(UNEVEN)
        if len(shape) == len("NHWC"):
            raise BadTensorError("pixels are nested at most 4 deep")
        shape.append(length)
        level = list(chain.from_iterable(level))
    return tuple(shape), level


def whole_pixels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers of any shape → uint8 of the same shape.

    Raises:
        BadTensorError: a number that is not whole, or not from 0 to 255.
    """
    if array.dtype == np.uint8:
        return array
    whole = array.astype(np.uint8) if _in_range(array) else None
    if whole is None or not np.array_equal(whole, array):
        raise BadTensorError(NO_PIXELS)
    return whole


def _in_range(array: NDArray[Any]) -> bool:
    # Where there is a NaN it is the least; it compares false to everything, so it is out of range.
    return float(array.min()) >= 0 and float(array.max()) <= 255
