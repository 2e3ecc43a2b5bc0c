"""Ends a rollout whose state somebody has deleted: the candidate may still have requests."""

from __future__ import annotations

from collections.abc import Callable

from rollout.clock import Time
from rollout.errors import ConflictError, RolloutError, UnreachableError
from rollout.types import Place, Version

AGAIN_S = 2.0


def take_back(place: Place, candidate: Version, clock: Time, tell: Callable[[str], None]) -> None:
    """Send all requests back and let the candidate go, as often as it takes; no registry is told.

    It may be done again, and where there is nothing to take back it does nothing.

    Args:
        place: where it was rolled out.
        candidate: the version.
        clock: the time; it ends when it says to stop.
        tell: gets what is waited for.

    Raises:
        RolloutError: the place refuses, or it was told to stop.
    """
    said = ""
    while True:
        try:
            place.withdraw(candidate)
        except (UnreachableError, ConflictError) as error:
            if str(error) != said:
                said = str(error)
                tell(said)
        else:
            return
        if clock.wait(AGAIN_S):
            raise RolloutError(f"{candidate.uri} is not taken back yet: {said}; do it again")
