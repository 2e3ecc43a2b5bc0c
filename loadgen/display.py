"""How a measurement is going, on the terminal: one line that changes, or one line a second."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console

from loadgen.progress import Snapshot


class Display:
    """Shows snapshots on stderr; a context manager, and a ``Watch``.

    Args:
        shown: None shows on a terminal only; True also elsewhere, as lines; False never.
    """

    def __init__(self, shown: bool | None = None) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._changing = shown is not False and self._console.is_terminal
        self._lines = shown is True and not self._console.is_terminal
        self._status = self._console.status("starting") if self._changing else None

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, snapshot: Snapshot) -> None:
        """Show how it is going."""
        self._say(line(snapshot))

    def tell(self, text: str) -> None:
        """Something that stays to be read."""
        if self._changing or self._lines:
            self._console.print(text, markup=False, soft_wrap=True)

    def _say(self, text: str) -> None:
        if self._status is not None:
            self._status.update(text)
        elif self._lines:
            self._console.print(text, markup=False, soft_wrap=True)


def line(snapshot: Snapshot) -> str:
    """A snapshot in one line."""
    if snapshot.elapsed_s < 0:
        return f"{snapshot.load}: warming up, {snapshot.in_flight} in flight"
    parts = [
        f"{snapshot.load}: {snapshot.elapsed_s:.0f} of {snapshot.duration_s:.0f} s",
        f"{snapshot.rate:.0f}/s",
        f"{snapshot.in_flight} in flight",
        f"{snapshot.failed} failed",
    ]
    if snapshot.p50_ms is not None and snapshot.p99_ms is not None:
        parts.append(f"p50 {snapshot.p50_ms:.1f} ms, p99 {snapshot.p99_ms:.1f} ms")
    if snapshot.endpoints > 1:
        parts.append(f"{snapshot.endpoints} endpoints")
    return ", ".join(parts)
