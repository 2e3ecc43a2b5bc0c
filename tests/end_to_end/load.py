"""A closed loop of clients that keeps asking until told to stop, and keeps every outcome."""

from __future__ import annotations

import threading
from collections import Counter

import httpx

WAIT_S = 60


class Load:
    """``clients`` threads, each with a connection of its own, posting ``body`` again and again.

    An outcome is the HTTP status, or ``refused`` for a connection that was never accepted, or
    ``lost`` for a request that was taken and not answered.
    """

    def __init__(self, url: str, body: bytes, clients: int) -> None:
        self._url = url
        self._body = body
        self.outcomes: Counter[int | str] = Counter()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, count: int, outcome: int | str = 200) -> None:
        """Return once ``count`` more of ``outcome`` have come."""
        with self._changed:
            target = self.outcomes[outcome] + count
            assert self._changed.wait_for(lambda: self.outcomes[outcome] >= target, WAIT_S), (
                f"{count} more {outcome} did not come: {self.outcomes}"
            )

    def stop(self) -> Counter[int | str]:
        """Let everybody finish; all outcomes."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "a request was never answered"
        return self.outcomes

    def _ask(self) -> None:
        headers = {"Content-Type": "image/jpeg"}
        with httpx.Client(timeout=WAIT_S) as client:
            while not self._stopping.is_set():
                outcome: int | str
                try:
                    answer = client.post(self._url, content=self._body, headers=headers)
                    outcome = answer.status_code
                    if outcome == 200 and "error" in answer.json()["predictions"][0]:
                        outcome = "error in its place"
                except httpx.ConnectError:
                    outcome = "refused"
                except httpx.TransportError:
                    outcome = "lost"
                with self._changed:
                    self.outcomes[outcome] += 1
                    self._changed.notify_all()
                if outcome == "refused":
                    return
