"""SIGTERM as a reason to leave like any other, so that what is half done is cleared away."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


@contextlib.contextmanager
def cleared_at_sigterm() -> Iterator[None]:
    """Have SIGTERM raise ``SystemExit`` (code 143) meanwhile.

    A program that has an answer of its own to SIGTERM keeps it; only the main thread can be told.
    """
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    )
    if not ours:
        yield
        return
    signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the clearing away
    raise SystemExit(128 + number)
