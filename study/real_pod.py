"""A real pod as a child process: ``millrace serve``, waited for, measured and stopped."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from study.errors import StudyError
from study.leash import leashed

READY_TIMEOUT_S = 150.0
STOP_TIMEOUT_S = 45.0
POLL_S = 0.1
LOG_LINES_SHOWN = 15


@dataclass(frozen=True, slots=True)
class PodOrder:
    """What ``millrace serve`` is told.

    Attributes:
        model: a name in ``store``.
        devices: as the setting ``devices`` has them, one for each instance.
        frontends: processes.
        slots: images each of them has room for.
        batch: most images in one.
    """

    model: str
    store: Path
    devices: tuple[str, ...]
    frontends: int
    slots: int
    batch: int


@dataclass(frozen=True, slots=True)
class Batches:
    """What instances have run so far."""

    batches: int
    images: int
    infer_s: float

    def since(self, before: Batches) -> Batches:
        """What they have run after ``before``."""
        return Batches(
            self.batches - before.batches,
            self.images - before.images,
            self.infer_s - before.infer_s,
        )


@dataclass(frozen=True, slots=True)
class CpuSeconds:
    """CPU time of a pod's processes, by kind."""

    frontends: tuple[float, ...]
    instances: float
    supervisor: float

    def since(self, before: CpuSeconds) -> CpuSeconds:
        """What they have spent after ``before``."""
        pairs = zip(self.frontends, before.frontends, strict=True)
        return CpuSeconds(
            tuple(now - then for now, then in pairs),
            self.instances - before.instances,
            self.supervisor - before.supervisor,
        )


class RealPod:
    """A pod that is ready."""

    def __init__(self, process: psutil.Process, model: str, port: int, ready_s: float) -> None:
        self._processes = {
            kind: [child for child in process.children() if f"millrace: {kind}" in _title(child)]
            for kind in ("frontend", "instance")
        }
        self._supervisor = process
        self.model = model
        self.port = port
        self.ready_s = ready_s

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> CpuSeconds:
        """What its processes have spent by now."""
        return CpuSeconds(
            tuple(_cpu_s(frontend) for frontend in self._processes["frontend"]),
            sum(_cpu_s(instance) for instance in self._processes["instance"]),
            _cpu_s(self._supervisor),
        )

    def batches(self) -> Batches:
        """What its instances have run by now, from its statistics."""
        url = f"{self.endpoint}/v2/models/{self.model}/stats"
        with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (our own http URL)
            stats: dict[str, Any] = json.load(response)["model_stats"][0]
        sizes = stats["batch_stats"]
        return Batches(
            sum(size["compute_infer"]["count"] for size in sizes),
            sum(size["compute_infer"]["count"] * size["batch_size"] for size in sizes),
            sum(size["compute_infer"]["ns"] for size in sizes) / 1e9,
        )


@contextmanager
def real_pod(order: PodOrder, log: Path) -> Iterator[RealPod]:
    """Start one, wait until it is ready, and stop it afterwards; it ends with this process too.

    Raises:
        StudyError: it did not get ready, or did not stop as it should; with the log's tail.
    """
    port, grpc_port = _free_ports(2)
    command: list[str] = [sys.executable, "-m", "millrace", "serve", order.model]
    command += ["--store", str(order.store), "--devices", ",".join(order.devices)]
    command += ["--instances", str(len(order.devices)), "--frontends", str(order.frontends)]
    command += ["--max-queue-size", str(order.slots), "--max-batch-size", str(order.batch)]
    command += ["--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", str(grpc_port)]
    command += ["--drain-delay-s", "0", "--log-level", "warning"]
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 (our own command)
            leashed(command), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_ready(process, f"http://127.0.0.1:{port}/v2/health/ready", log)
        ready_s = time.monotonic() - began
        yield RealPod(psutil.Process(process.pid), order.model, port, ready_s)
    finally:
        exit_code = _stop(process)
    if exit_code != 0:
        raise StudyError(f"the pod ended with exit code {exit_code}\n{_tail(log)}")


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not _answers(url):
        if process.poll() is not None:
            raise StudyError(f"the pod ended with exit code {process.returncode}\n{_tail(log)}")
        if time.monotonic() > deadline:
            raise StudyError(f"the pod was not ready in {READY_TIMEOUT_S:.0f} s\n{_tail(log)}")
        time.sleep(POLL_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 (our own http URL)
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> int | None:
    """SIGTERM, wait, and kill what is left of it; its exit code, if it ended by itself."""
    family: Sequence[psutil.Process] = ()
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    finally:
        for child in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def _free_ports(count: int) -> list[int]:
    """TCP ports nobody listens on at this moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join([*lines, f"(the whole log: {log})"])
