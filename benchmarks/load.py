"""Closed-loop load from wrk (HTTP/1.1) and h2load (HTTP/2, for gRPC), read back as one result.

wrk rotates through all requests on each of its connections. h2load sends one body per run, so one
h2load process is run for each request, side by side; every request is in flight equally often.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.payloads import GRPC_PATH
from benchmarks.side_by_side import children_cpu_s, run_side_by_side

WRK_SCRIPT = Path(__file__).with_name("wrk_rotate.lua")
DEBIAN_PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
REQUEST_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one load run saw: all of it answered rightly, or it would have raised."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    tool_cpu_s: float


def require_tools() -> None:
    """Raise a BenchmarkError that names the Debian package of a tool that is missing."""
    for tool, package in DEBIAN_PACKAGES.items():
        if shutil.which(tool) is None:
            raise BenchmarkError(f"{tool} is not installed: apt-get install {package}")


def run_wrk(port: int, requests: Sequence[Path], connections: int, seconds: int) -> LoadResult:
    """Send whole HTTP requests over ``connections`` for ``seconds``, each as the last is answered.

    Raises:
        BenchmarkError: for any answer that is not 2xx, or any connection that failed.
    """
    command: list[str | Path] = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", f"{REQUEST_TIMEOUT_S}s"]
    command += ["--script", WRK_SCRIPT, f"http://127.0.0.1:{port}", "--", *requests]
    cpu_before = children_cpu_s()
    (output,) = run_side_by_side([command], seconds)
    return parse_wrk(output, children_cpu_s() - cpu_before)


def parse_wrk(output: str, tool_cpu_s: float) -> LoadResult:
    """Read the line that ``wrk_rotate.lua`` prints."""
    match = re.search(r"^RESULT (\{.*\})$", output, re.MULTILINE)
    if match is None:
        raise BenchmarkError(f"wrk printed no result: {output.strip() or 'nothing at all'}")
    result = json.loads(match[1])
    kinds = ("connect", "read", "write", "status", "timeout")
    failures = {kind: result[kind] for kind in kinds if result[kind]}
    if failures:
        raise BenchmarkError(f"of {result['requests']} requests wrk saw failures: {failures}")
    return LoadResult(
        requests=result["requests"],
        seconds=result["duration_us"] / 1e6,
        p50_ms=result["p50_us"] / 1e3,
        p99_ms=result["p99_us"] / 1e3,
        tool_cpu_s=tool_cpu_s,
    )


@dataclass(frozen=True, slots=True)
class GrpcBody:
    """A request for h2load, and how long the answer to it is."""

    file: Path
    answer_bytes: int  # in the HTTP/2 body, with gRPC's prefix of 5 bytes


def run_h2load(
    port: int, bodies: Sequence[GrpcBody], connections: int, seconds: int, folder: Path
) -> LoadResult:
    """Call ``ModelInfer`` with every body at once, ``connections`` calls in flight altogether.

    ``folder`` takes h2load's logs of single requests.

    Raises:
        BenchmarkError: for any answer that is not 200, or shorter than the right one: h2load does
            not look at gRPC's own status, but a failed call has no message.
    """
    each, rest = divmod(connections, len(bodies))
    if rest:
        raise BenchmarkError(f"{connections} connections do not divide by {len(bodies)} requests")
    folder.mkdir(parents=True, exist_ok=True)
    logs = [folder / f"{body.file.stem}.log" for body in bodies]
    commands = []
    for body, log in zip(bodies, logs, strict=True):
        command: list[str | Path] = ["h2load", "--clients", str(each), "--duration", str(seconds)]
        command += ["--header", "content-type: application/grpc", "--header", "te: trailers"]
        command += ["--data", body.file, f"--log-file={log}", f"http://127.0.0.1:{port}{GRPC_PATH}"]
        commands.append(command)
    for log in logs:
        log.unlink(missing_ok=True)
    cpu_before = children_cpu_s()
    outputs = run_side_by_side(commands, seconds)
    tool_cpu_s = children_cpu_s() - cpu_before
    counts = [parse_h2load(output) for output in outputs]
    for body, count in zip(bodies, counts, strict=True):
        count.check(body.answer_bytes)
    latencies_us = np.concatenate([parse_h2load_log(log.read_text())[:, 2] for log in logs])
    p50_us, p99_us = np.percentile(latencies_us, [50, 99])
    return LoadResult(
        requests=sum(count.succeeded for count in counts),
        seconds=float(seconds),
        p50_ms=float(p50_us) / 1e3,
        p99_ms=float(p99_us) / 1e3,
        tool_cpu_s=tool_cpu_s,
    )


@dataclass(frozen=True, slots=True)
class H2Count:
    """What h2load counted."""

    succeeded: int
    failed: int
    body_bytes: int

    def check(self, answer_bytes: int) -> None:
        """Raise a BenchmarkError unless every answer was 200 and of the right length."""
        if self.failed or not self.succeeded:
            raise BenchmarkError(f"h2load saw {self.failed} failures, {self.succeeded} successes")
        if self.body_bytes < self.succeeded * answer_bytes:
            raise BenchmarkError(
                f"{self.succeeded} gRPC answers came to {self.body_bytes} bytes instead of "
                f"{answer_bytes} each: some calls failed"
            )


def parse_h2load(output: str) -> H2Count:
    """Read h2load's summary of a timed run."""
    requests = re.search(
        r"^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
        output,
        re.MULTILINE,
    )
    statuses = re.search(
        r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", output, re.MULTILINE
    )
    body_bytes = re.search(r"^traffic: .*\((\d+)\) data$", output, re.MULTILINE)
    if requests is None or statuses is None or body_bytes is None:
        raise BenchmarkError(f"h2load printed no result: {output.strip() or 'nothing at all'}")
    succeeded, *failures = map(int, requests.groups())
    _, *other_statuses = map(int, statuses.groups())
    return H2Count(succeeded, max(sum(failures), sum(other_statuses)), int(body_bytes[1]))


def parse_h2load_log(text: str) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Rows of single requests: start in microseconds since 1970, status or -1, microseconds."""
    rows = [line.split("\t")[:3] for line in text.splitlines()]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)
