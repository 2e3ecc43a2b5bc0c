"""Open-loop load from h2load over HTTP/1.1: requests leave at a given rate, answered or not.

A client of h2load asks at its own rate but waits for its answer, so there are as many clients as
can be waiting at once, and more. They start one after the other, so that what they send is spread
evenly over time. h2load sends one body per run: one process for each request, side by side, and
each starts one request's time after the one before. Started at once, their streams, all of the same
period, would keep whatever phases chance gave them for the whole run, in clusters as a rule.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.load import parse_h2load_log
from benchmarks.side_by_side import children_cpu_s, run_side_by_side

OK, REFUSED, BROKEN = 200, 503, -1
KEPT_RATE = 0.97  # below this share of the wanted rate the tool, not the server, was measured
NOT_SENT = ("host", "content-length")  # h2load writes these itself

Column = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Answers:
    """Every request that left within the measured time."""

    status: Column  # -1 where no answer came
    latency_us: Column  # from leaving to the answer's last byte
    seconds: float
    tool_cpu_s: float  # of the whole run, ramps included
    run_s: float  # how long that was

    @property
    def rate(self) -> float:
        """Requests that left per second."""
        return len(self.status) / self.seconds

    @property
    def counts(self) -> dict[int, int]:
        """Requests by status, in its order."""
        return dict(sorted(Counter(self.status.tolist()).items()))

    def per_second(self, status: int = OK) -> float:
        """How many a second were answered so."""
        return int(np.sum(self.status == status)) / self.seconds

    def percentile_ms(self, percent: float, status: int = OK) -> float | None:
        """Of those that were answered so; None where there were none."""
        latencies = self.latency_us[self.status == status]
        return float(np.percentile(latencies, percent)) / 1e3 if len(latencies) else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How one h2load process keeps to its rate.

    Attributes:
        clients: connections; each waits for its answer before it asks again.
        requests: of all clients together.
        created: clients that start at a time.
        period_ms: between those times.
        ramp_s: until all have started.
    """

    clients: int
    requests: int
    created: int
    period_ms: int
    ramp_s: float

    @classmethod
    def of(cls, rate: float, seconds: float, wait_s: float) -> Pace:
        """For ``rate`` requests a second, the slowest of them answered within ``wait_s``."""
        clients = max(1, math.ceil(rate * wait_s))
        created = max(1, math.ceil(rate / 1000))
        period_ms = max(1, round(1000 * created / rate))
        ramp_s = math.ceil(clients / created) * period_ms / 1000
        each = math.ceil((seconds + 2 * ramp_s) * rate / clients)
        return cls(clients, clients * each, created, period_ms, ramp_s)


def run_open_loop(
    port: int,
    requests: Sequence[Path],
    rate: float,
    seconds: float,
    wait_s: float,
    folder: Path,
    *,
    keep_rate: bool = True,
) -> Answers:
    """Send whole HTTP requests at ``rate`` a second in all, each of them equally often.

    Args:
        port: of the server.
        requests: files of whole HTTP/1.1 requests.
        rate: requests a second.
        seconds: measured; the run is longer by two ramps of about ``wait_s``.
        wait_s: the longest an answer may take before the rate suffers.
        folder: takes bodies and logs of single requests.
        keep_rate: whether to raise when the requests did not leave at that rate.

    Raises:
        BenchmarkError: h2load fails, or does not keep the rate.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pace = Pace.of(rate / len(requests), seconds, wait_s)
    logs = [folder / f"{request.stem}.log" for request in requests]
    for log in logs:
        log.unlink(missing_ok=True)
    commands = [
        _command(port, request, log, pace, rate / len(requests))
        for request, log in zip(requests, logs, strict=True)
    ]
    cpu_before = children_cpu_s()
    run_side_by_side(commands, seconds + 2 * pace.ramp_s, apart_s=1 / rate)
    rows = np.concatenate([parse_h2load_log(log.read_text()) for log in logs])
    answers = within(rows, pace.ramp_s, seconds, children_cpu_s() - cpu_before)
    if keep_rate and answers.rate < KEPT_RATE * rate:
        raise BenchmarkError(
            f"{answers.rate:.0f} requests left per second instead of {rate:.0f}: "
            f"answers took longer than the {wait_s:g} s the clients reckon with"
        )
    return answers


def within(
    rows: np.ndarray[tuple[int, int], np.dtype[np.int64]],
    ramp_s: float,
    seconds: float,
    tool_cpu_s: float,
) -> Answers:
    """The requests of ``rows`` that left in the ``seconds`` after the first ``ramp_s``."""
    if not len(rows):
        raise BenchmarkError("h2load sent nothing: is the server there?")
    run_s = float(np.max(rows[:, 0] + rows[:, 2]) - np.min(rows[:, 0])) / 1e6
    since_us = rows[:, 0] - np.min(rows[:, 0]) - round(ramp_s * 1e6)
    kept = rows[(since_us >= 0) & (since_us < seconds * 1e6)]
    return Answers(kept[:, 1], kept[:, 2], seconds, tool_cpu_s, run_s)


def _command(port: int, request: Path, log: Path, pace: Pace, rate: float) -> list[str | Path]:
    head, _, body = request.read_bytes().partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    body_file = log.with_suffix(".body")
    body_file.write_bytes(body)
    command: list[str | Path] = ["h2load", "--h1", "--clients", str(pace.clients)]
    command += ["--requests", str(pace.requests), "--rps", f"{rate / pace.clients:.6f}"]
    command += ["--rate", str(pace.created), "--rate-period", f"{pace.period_ms}ms"]
    for header in headers:
        if header.partition(":")[0].lower() not in NOT_SENT:
            command += ["--header", header]
    command += ["--data", body_file, f"--log-file={log}"]
    return [*command, f"http://127.0.0.1:{port}{first.split()[1]}"]
