"""A worker process as the client holds it."""

from __future__ import annotations

import subprocess
import sys
from multiprocessing import Pipe

from loadgen.errors import LoadError
from loadgen.orders import Order, Reply

GOODBYE_S = 5


class Process:
    """Started at once; it ends when its connection closes, and so cannot outlive the client."""

    def __init__(self, file: int) -> None:
        self.connection, theirs = Pipe()
        command = [sys.executable, "-m", "loadgen.worker", str(theirs.fileno()), str(file)]
        self._popen = subprocess.Popen(  # noqa: S603 (our own module)
            command,
            pass_fds=(theirs.fileno(), file),
            stdin=subprocess.DEVNULL,
            process_group=0,  # a terminal's Ctrl-C is the client's to hear
        )
        theirs.close()

    def tell(self, order: Order) -> None:
        """Send an order.

        Raises:
            LoadError: the process is gone.
        """
        try:
            self.connection.send(order)
        except OSError:
            raise self._gone() from None

    def hear(self) -> Reply:
        """Wait for its next reply.

        Raises:
            LoadError: the process is gone.
        """
        try:
            reply: Reply = self.connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        return reply

    def close(self) -> None:
        """Let it end, or make it."""
        self.connection.close()
        try:
            self._popen.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def _gone(self) -> LoadError:
        try:
            code: int | None = self._popen.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            code = None
        return LoadError(f"a process of the load client ended with exit code {code}; see above")
