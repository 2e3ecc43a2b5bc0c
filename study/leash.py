"""``python -m study.leash PARENT COMMAND…``: a command that is told to end when its parent dies.

A study that is killed cannot stop its pods. On Linux the kernel does: this sets the signal that the
process gets at its parent's death (``PR_SET_PDEATHSIG``, which outlasts ``exec``), then becomes the
command. Elsewhere it only becomes the command.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """``command``, so that it gets SIGTERM when this process ends, however it does.

    The thread that starts it must live as long as this process.
    """
    return [sys.executable, "-m", "study.leash", str(os.getpid()), *command]


def main(parent: int, command: Sequence[str]) -> None:
    """Become the command."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before it was asked for
            return
    os.execv(command[0], list(command))  # noqa: S606 (its own arguments)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
