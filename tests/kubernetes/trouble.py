"""What goes wrong on purpose between a client and the API server."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from enum import StrEnum

from tests.kubernetes.refusals import RefusedError


class Harm(StrEnum):
    """What happens to a request that is met."""

    REFUSED = "refused"  # it is answered by ``refusal``, and nothing is done
    LOST = "lost"  # the connection ends before anything is done
    UNHEARD = "unheard"  # it is done, and the connection ends before the answer
    CUT = "cut"  # it is done, and the connection ends amid the answer
    HELD = "held"  # it waits, until ``release`` is set, and is then done


@dataclass(slots=True)
class Trouble:
    """For the next ``times`` requests that match, ``harm``.

    Attributes:
        verb: of the API (get, list, watch, create, update, patch, delete), or ``*``.
        path: regular expression, searched for in the path.
        times: how often yet; it is counted down.
        met: set when a request has met it.
        release: lets those go that are held.
    """

    harm: Harm
    verb: str = "*"
    path: str = ""
    times: int = 1
    refusal: RefusedError | None = None
    met: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


class Troubles:
    """Those that are to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._coming: list[Trouble] = []

    def add(self, trouble: Trouble) -> Trouble:
        """Have it happen."""
        with self._lock:
            self._coming.append(trouble)
        return trouble

    def clear(self) -> None:
        """No more of them; what is held goes on."""
        with self._lock:
            for each in self._coming:
                each.times = 0
                each.release.set()

    def meeting(self, verb: str, path: str) -> Trouble | None:
        """That which this request meets, if any."""
        with self._lock:
            for each in self._coming:
                if each.times and each.verb in ("*", verb) and re.search(each.path, path):
                    each.times -= 1
                    each.met.set()
                    return each
        return None
