"""A client that is slow to take its answers, which wrk never is."""

from __future__ import annotations

import contextlib
import socket
import threading

BUFFER_BYTES = 4096
READS_PER_S = 50


class SlowReader:
    """Sends one request after the other as fast as it can, and takes answers at a rate of its own.

    Args:
        port: of the server, on this machine.
        request: what is sent, over and over.
        bytes_per_s: how fast answers are taken.

    Attributes:
        taken: bytes of answers so far.
    """

    def __init__(self, port: int, request: bytes, bytes_per_s: int) -> None:
        self.taken = 0
        self._connection = socket.socket()
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self._connection.connect(("127.0.0.1", port))
        self._request, self._bytes_per_s = request, bytes_per_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._read)]

    def __enter__(self) -> SlowReader:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):  # the server may have hung up
            self._connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _send(self) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                self._connection.sendall(self._request)

    def _read(self) -> None:
        while not self._stop.wait(1 / READS_PER_S):
            self.taken += len(self._connection.recv(self._bytes_per_s // READS_PER_S))
