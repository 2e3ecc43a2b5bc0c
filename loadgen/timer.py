"""An alarm on the event loop that is finer than its own timers, which count milliseconds."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class _Times(ctypes.Structure):
    """``struct itimerspec``: the interval, then the first expiry, each in s and ns."""

    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("first_s", ctypes.c_long),
        ("first_ns", ctypes.c_long),
    )


class Timer:
    """Calls back at a time of the monotonic clock; on Linux to some ten microseconds.

    A request that leaves a millisecond late would be blamed on the server, since its latency is
    counted from when it was to leave. Python has timerfd from 3.13 on only; before, libc's own.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._file: int | None = None
        self._handle: asyncio.TimerHandle | None = None
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            file = self._libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
            if file >= 0:
                self._file = file
                self._loop.add_reader(file, self._expired)

    def set(self, at_ns: int) -> None:
        """Wake at ``at_ns``, or as soon as possible where that is past; replaces any before."""
        if self._file is None:
            self._cancel()
            self._handle = self._loop.call_at(at_ns / 1e9, self._wake)
            return
        first_s, first_ns = divmod(max(at_ns, 1), 1_000_000_000)  # all zero would disarm it
        times = _Times(0, 0, first_s, first_ns)
        self._libc.timerfd_settime(self._file, _ABSOLUTE, ctypes.byref(times), None)

    def close(self) -> None:
        """Never wake again."""
        self._cancel()
        if self._file is not None:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = None

    def _expired(self) -> None:
        if self._file is not None:
            with contextlib.suppress(BlockingIOError):  # it was set anew in the meantime
                os.read(self._file, 8)
                self._wake()

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
