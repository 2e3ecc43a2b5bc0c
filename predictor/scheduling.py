"""How long a thread of this process may run before others are looked at: Linux's slices.

Since Linux 6.12 a thread may ask for a slice of its own (``sched_setattr``, ``sched_runtime``). Of
two that have had as much of a core, the one with the shorter slice goes first, and one that wakes
up with a shorter slice than the running one does not wait for that to end. So the event loop, which
answers or refuses within microseconds, need not wait behind batches that take milliseconds. Nobody
gets more of a core by it; that is what ``nice`` is for. Older kernels ignore it.
"""

from __future__ import annotations

import ctypes
import os
import platform

NUMBERS = {"x86_64": 314, "aarch64": 274}  # of the system call
SCHED_OTHER = 0


class _Attributes(ctypes.Structure):
    """The kernel's ``struct sched_attr`` (include/uapi/linux/sched/types.h), version 0."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


def set_slice(seconds: float) -> bool:
    """Have the calling thread run for so long at a time (0.0001 to 0.1 s); its nice value stays.

    Returns:
        Whether the kernel took it; a sandbox may forbid it, and nothing depends on it.
    """
    number = NUMBERS.get(platform.machine())
    if number is None:
        return False
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=SCHED_OTHER,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=int(seconds * 1e9),
    )
    return bool(ctypes.CDLL(None).syscall(number, 0, ctypes.byref(wanted), 0) == 0)
