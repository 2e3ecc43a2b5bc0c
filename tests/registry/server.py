"""A real ``mlflow server`` in a process of its own, and a way to it that can be slow or broken."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

START_S = 150


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RegistryServer:
    """``mlflow server`` over a database and a folder of artifacts; can be stopped and come back.

    Args:
        folder: where artifacts, log and, without another one, the database are.
        database: a SQLAlchemy URL.
    """

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder = folder
        self.artifacts = folder / "artifacts"
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._database = database or f"sqlite:///{folder}/mlflow.db"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *command,
                    *("--backend-store-uri", self._database),
                    *("--artifacts-destination", str(self.artifacts), "--serve-artifacts"),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            )
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.uri}/health", timeout=5).status_code == 200:
                    return
            time.sleep(0.1)
        self.stop()
        raise AssertionError((self.folder / "server.log").read_text(errors="replace")[-4000:])

    def stop(self) -> None:
        """End it and all of its workers, at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def running(folder: Path, database: str = "") -> Iterator[RegistryServer]:
    """A server that answers; it stops when the block ends."""
    server = RegistryServer(folder, database)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Way:
    """A TCP proxy on the loopback: lets so many bytes of answers pass, then breaks or stops.

    Attributes:
        uri: of the registry behind it.
        passed: bytes of answers that have passed.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.passed = 0
        self._left: int | None = None  # None: all may pass
        self._open = True
        self._lock = threading.Lock()
        self.broken = threading.Event()
        self._connections: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def allow(self, count: int | None) -> None:
        """Let ``count`` more bytes pass and then break every connection; None: no limit."""
        with self._lock:
            self._left = count
            self.broken.clear()

    def close(self) -> None:
        """Nobody answers here from now on."""
        self._open = False
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while self._open:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            thread = threading.Thread(target=self._serve, args=(client, server), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        self._connections |= {client, server}
        with client, server:
            asking = threading.Thread(target=self._pass, args=(client, server, False), daemon=True)
            asking.start()
            self._pass(server, client, True)
            asking.join()
        self._connections -= {client, server}

    def _pass(self, start: socket.socket, end: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while block := start.recv(4096):
                if counted and not self._may_pass(len(block)):
                    break
                end.sendall(block)
        for each in (start, end):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _may_pass(self, count: int) -> bool:
        with self._lock:
            if self._left is not None and self._left < count:
                self._left = 0
                self.broken.set()
                return False
            if self._left is not None:
                self._left -= count
            self.passed += count
            return True
