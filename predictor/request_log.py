"""A line for each inference request, in a log that clients can neither fill nor forge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal

from predictor.observation import Observation

logger = logging.getLogger(__name__)

LINES_PER_S = 20  # 200 KB a minute at the usual length; a person reads fewer
SAY_AGAIN_S = 1.0  # between two lines about what was left out
LONGEST_TEXT = 500  # characters of a path or an error, before escapes

# What operators should look at. 503, RESOURCE_EXHAUSTED and UNAVAILABLE are refusals by design.
FAULTS = frozenset(
    {"500", "502", "504", "INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "DATA_LOSS"}
)


class RequestLog:
    """Writes ``request ID: POST PATH 400 in 1.3 ms, 2 images: what the client was told``.

    Args:
        what: which requests get a line; ``errors``: those that were not answered well.
        clock: seconds that only grow.
    """

    def __init__(self, what: Literal["off", "errors", "all"], clock: Callable[[], float]) -> None:
        self._what = what
        self._clock = clock
        self._tokens = float(LINES_PER_S)  # lines that may be written now
        self._filled_s = clock()
        self._left_out = 0
        self._left_out_since_s = 0.0

    def write(self, observation: Observation) -> None:
        """Log a finished request, if it is one that is wanted and there is room."""
        if self._left_out and self._clock() - self._left_out_since_s >= SAY_AGAIN_S:
            self._say_left_out()
        if self._what == "off" or (self._what == "errors" and _answered_well(observation)):
            return
        level = logging.WARNING if observation.code in FAULTS else logging.INFO
        if not logger.isEnabledFor(level):
            return
        if self._take_token():
            logger.log(level, "%s", line(observation))
            return
        if not self._left_out:
            self._left_out_since_s = self._clock()
        self._left_out += 1

    def close(self) -> None:
        """Say what was left out since it was last said."""
        if self._left_out:
            self._say_left_out()

    def _say_left_out(self) -> None:
        logger.warning(
            "%d requests have no line here: at most %d a second are written",
            self._left_out,
            LINES_PER_S,
        )
        self._left_out = 0

    def _take_token(self) -> bool:
        now_s = self._clock()
        self._tokens = min(LINES_PER_S, self._tokens + (now_s - self._filled_s) * LINES_PER_S)
        self._filled_s = now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


def line(observation: Observation) -> str:
    """One line about a request; whatever a client put in it stays within it."""
    took_ms = (observation.ended_ns - observation.began_ns) / 1e6
    images = observation.images
    counted = f", {images} image{'s' if images > 1 else ''}" if images else ""
    told = f": {_one_line(observation.error)}" if observation.error else ""
    return (
        f"request {_one_line(observation.request_id)}: {_one_line(observation.operation)} "
        f"{observation.code} in {took_ms:.1f} ms{counted}{told}"
    )


def _answered_well(observation: Observation) -> bool:
    code = observation.code
    return not observation.error and (code == "OK" or code.startswith("2"))


def _one_line(text: str) -> str:
    """Text with all that moves a cursor, hides or reorders what follows written as an escape."""
    cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    if cut.isprintable():
        return cut
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in cut
    )
