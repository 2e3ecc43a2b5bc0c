"""Numbers on the command line: within bounds, finite, and refused in one line."""

from __future__ import annotations

import math
from typing import Any

import click

from millrace.refusal import Refusal

SHOWN = 40  # characters of what was given


class Number(click.ParamType[float]):
    """One number.

    Args:
        least: the smallest there may be.
        most: the largest.
        whole: whether it must be a whole number.
        above: whether it must be above ``least``.

    Raises:
        Refusal: it is none, or not within these.
    """

    def __init__(
        self, least: float, most: float, *, whole: bool = False, above: bool = False
    ) -> None:
        self._least = least
        self._most = most
        self._whole = whole
        self._above = above
        self.name = "integer" if whole else "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read it."""
        if isinstance(value, (int, float)):
            return value
        try:
            number: float = int(value) if self._whole else float(value)
        except ValueError:
            number = math.nan
        if not self._fits(number):
            shown = value if len(value) <= SHOWN else f"{value[:SHOWN]}…"
            where = f"{param.opts[-1]} " if param is not None else ""
            raise Refusal(f"{where}{shown!r}: must be {self.wanted}")
        return number

    @property
    def wanted(self) -> str:
        """In words."""
        kind = "a whole number" if self._whole else "a number"
        if self._above:
            return f"{kind} above {self._least:g} and at most {self._most:,.0f}"
        return f"{kind} from {self._least:g} to {self._most:,.0f}"

    def _fits(self, number: float) -> bool:
        """NaN never does."""
        low = number > self._least if self._above else number >= self._least
        return low and number <= self._most


class Numbers(click.ParamType[tuple[float, ...]]):
    """Several, separated by commas, one at least."""

    name = "numbers"

    def __init__(self, each: Number, most: int) -> None:
        self._each = each
        self._most = most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Read them."""
        if isinstance(value, tuple):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not 1 <= len(parts) <= self._most:
            where = f"{param.opts[-1]} " if param is not None else ""
            raise Refusal(
                f"{where}{value[:SHOWN]!r}: must be 1 to {self._most} numbers separated by commas, "
                "such as 1,2,4"
            )
        return tuple(self._each.convert(part, param, ctx) for part in parts)
