"""How busy this process is, over the time that counts."""

from __future__ import annotations

import time

SHORTEST_S = 0.1  # below, the share of a core says nothing


class CpuClock:
    """CPU time of this process from the last ``start`` to the first ``stop``.

    Attributes:
        seconds: between the two; 0 before both.
        used_s: CPU time of all its threads meanwhile.
    """

    def __init__(self) -> None:
        self.seconds = self.used_s = 0.0
        self._stopped = False
        self.start()

    def start(self) -> None:
        """From now on."""
        if not self._stopped:
            self._began_s, self._began_used_s = time.monotonic(), time.process_time()

    def stop(self) -> None:
        """Up to now."""
        if not self._stopped:
            self._stopped = True
            self.seconds = time.monotonic() - self._began_s
            self.used_s = time.process_time() - self._began_used_s

    @property
    def ratio(self) -> float:
        """Of one core."""
        return self.used_s / max(self.seconds, SHORTEST_S)
