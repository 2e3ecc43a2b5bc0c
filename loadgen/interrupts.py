"""Ctrl-C as a wish to end early, not as an exception in the middle of a message."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self


class Interrupts:
    """While it is entered, the first Ctrl-C is noted, and only a second one interrupts.

    Attributes:
        wanted: whether somebody wants it to end. Outside the main thread, where signals do not
            come, never.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
