"""A whole pod as its users meet it: real processes, real sockets."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from model_store.package import ModelPackage
from tests.conftest import COLOURS, colour_image
from tests.predictor.test_decode import HOSTILE

SERVING = re.compile(r"serving (\S+) version (\S+): http port (\d+), grpc port (\d+)")
START_S = 60
TOKEN = "a-repository-token"
MESSAGE_LIMIT = 100_000  # bytes


class Pod:
    """``millrace serve`` in a process of its own; its log is read as it comes."""

    def __init__(self, package: Path | str, *flags: str) -> None:
        command = [sys.executable, "-m", "millrace", "serve", str(package)]
        if "--instances" not in flags:
            flags = (*flags, "--instances", "1")  # measuring how many there should be takes a while
        ports = ["--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0"]
        self.process = subprocess.Popen(
            [*command, *ports, *flags], stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.log: list[str] = []
        self._serving = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        match = self._wait_until_serving()
        self.http = f"127.0.0.1:{match[3]}"
        self.grpc = f"127.0.0.1:{match[4]}"
        self.url = f"http://{self.http}"
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def _wait_until_serving(self) -> re.Match[str]:
        self._serving.wait(START_S)
        for line in self.log:
            if match := SERVING.search(line):
                return match
        self.process.kill()
        self.process.wait()
        raise AssertionError("the pod did not start:\n" + "".join(self.log))

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if SERVING.search(line):
                self._serving.set()
        self._serving.set()

    def instances(self) -> list[psutil.Process]:
        """The instance processes there are now, by their titles."""
        return self._titled("millrace: instance")

    def frontends(self) -> list[psutil.Process]:
        """The frontend processes there are now, by their titles."""
        return self._titled("millrace: frontend")

    def _titled(self, title: str) -> list[psutil.Process]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if " ".join(child.cmdline()).startswith(title):
                    found.append(child)
        return found

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)

    def close(self) -> None:
        """Stop by whatever it takes and check that nothing is left."""
        if self.process.poll() is None:
            self.family += psutil.Process(self.process.pid).children(recursive=True)
            self.stop()
        self._reader.join(START_S)
        if self.process.stderr is not None:
            self.process.stderr.close()
        left = [child for child in self.family if _lives(child)]
        for child in left:
            child.kill()
        assert left == [], "processes outlived their pod:\n" + "".join(self.log)


def _lives(process: psutil.Process) -> bool:
    """One that has ended, and that nobody has asked for its exit code yet, does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@pytest.fixture(scope="session")
def hostile() -> dict[str, bytes]:
    """Files that are no images, or mean harm."""
    return {name: data for name, (data, _) in HOSTILE.items()}


@pytest.fixture
def start() -> Iterator[Callable[..., Pod]]:
    """Start pods; each is stopped when the test ends."""
    with contextlib.ExitStack() as pods:

        def starter(package: ModelPackage, *flags: str) -> Pod:
            pod = Pod(package.path, *flags)
            pods.callback(pod.close)
            return pod

        yield starter


@pytest.fixture(scope="module")
def pod(colours: ModelPackage) -> Iterator[Pod]:
    """One pod with two frontends and two instances for a module's tests."""
    running = Pod(colours.path, "--frontends", "2", "--instances", "2", "--drain-delay-s", "0")
    yield running
    running.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One JPEG of every colour, as files."""
    folder = tmp_path_factory.mktemp("images")
    for colour in COLOURS:
        (folder / f"{colour}.jpg").write_bytes(colour_image(colour))
    return folder


@pytest.fixture(scope="module")
def guarded(colours: ModelPackage) -> Iterator[Pod]:
    """A pod of one instance with an open repository and a narrow gRPC limit."""
    token = ("--repository-token", TOKEN)
    limit = ("--grpc-max-message-bytes", str(MESSAGE_LIMIT))
    running = Pod(colours.path, "--frontends", "2", *token, *limit, "--drain-delay-s", "0")
    yield running
    running.close()
