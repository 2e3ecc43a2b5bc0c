"""A client that is slow to take its answers."""

from __future__ import annotations

import socket
import threading
import time

from benchmarks.slow_reader import SlowReader


def test_it_sends_all_the_time_and_takes_little():
    """What it is sent piles up behind it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        SlowReader(listener.getsockname()[1], b"x" * 1000, 5000) as reader,
        listener.accept()[0] as connection,
    ):
        connection.settimeout(0.2)
        answers = threading.Thread(target=_flood, args=(connection,))
        answers.start()
        got = 0
        until = time.monotonic() + 20
        while (got < 50_000 or reader.taken < 200) and time.monotonic() < until:
            got += len(connection.recv(65536))
        answers.join()

    assert got >= 50_000
    assert 200 <= reader.taken < 200_000


def _flood(connection: socket.socket) -> None:
    try:
        while True:
            connection.sendall(b"y" * 10_000)
    except TimeoutError:
        pass
