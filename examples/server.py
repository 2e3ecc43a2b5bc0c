"""A server as a child process: started, waited for, and stopped with proof."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MILLRACE = Path(sys.executable).with_name("millrace")
LOG_LINES_SHOWN = 20


class ServerError(Exception):
    """A server did not do its part; the text says why and what to look at."""


@dataclass(frozen=True, slots=True)
class Stop:
    """How a server ended."""

    exit_code: int | None  # None: it did not end by itself in time
    left_behind: tuple[str, ...]  # processes of it that were still there, by title

    @property
    def clean(self) -> bool:
        """Whether it left with exit code 0 and took all its processes along."""
        return self.exit_code == 0 and not self.left_behind


class Server:
    """A running server, in a session of its own, writing to ``log``.

    ``environment`` is what it is told besides, where other processes must not read it.
    """

    def __init__(
        self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )

    def wait_ready(self, url: str, timeout_s: float) -> None:
        """Return once ``url`` answers 200.

        Raises:
            ServerError: when the server ends before that or takes longer; with the log's tail.
        """
        deadline = time.monotonic() + timeout_s
        while not _answers(url):
            if self._process.poll() is not None:
                raise ServerError(
                    f"the server ended with exit code {self._process.returncode}\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerError(
                    f"the server was not ready in {timeout_s:.0f} s\n{self.log_tail()}"
                )
            time.sleep(0.1)

    @property
    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self._process.poll()

    def stop(self, timeout_s: float) -> Stop:
        """SIGTERM, wait, and kill what is left of it."""
        family = self.family()
        self._process.send_signal(signal.SIGTERM)
        try:
            exit_code: int | None = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            exit_code = None
        left = {process for process in family | self.family() if _alive(process)}
        titles = tuple(sorted(_title(process) for process in left))
        for process in left:
            process.kill()
        self._process.wait()
        return Stop(exit_code, titles)

    def family(self) -> set[psutil.Process]:
        """The server and all that came from it: its descendants, and orphans of its session."""
        family = set()
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) == self._process.pid:
                    family.add(process)
            except ProcessLookupError:
                continue
        with contextlib.suppress(psutil.NoSuchProcess):
            family.update(psutil.Process(self._process.pid).children(recursive=True))
        return family

    def log_tail(self) -> str:
        """The last lines the server wrote."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([*lines[-LOG_LINES_SHOWN:], f"(the whole log: {self._log})"])


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"process {process.pid}"
