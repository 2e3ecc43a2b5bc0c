"""The load client: its processes, started once, and any number of measurements with them."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from typing import IO, Self

from loadgen.connections import require_connections
from loadgen.errors import LoadError
from loadgen.interrupts import Interrupts
from loadgen.orders import Beat, Measure, Ready, Refused, Result, Setup, Stop, Stored
from loadgen.plan import Closed, Load, Plan
from loadgen.prepared import prepare
from loadgen.process import Process
from loadgen.progress import Progress, Watch
from loadgen.report import Report, report
from loadgen.requests import Request
from loadgen.worker import share

HEAD_START_S = 0.02  # for the order to reach all workers before they begin together
PROBE_S = 1.0  # of each number of processes, where the client is to find out how many it needs
ENOUGH_RATIO = 0.8  # of a core: a process below has time to spare
PATIENCE_S = 30  # without a sign of life; a process at work gives one a second


def run(plan: Plan, watch: Watch | None = None) -> Report:
    """Send one load and say what came back.

    Raises:
        LoadError: the plan cannot be carried out.
    """
    with Client(plan, watch) as client:
        return client.measure()


@dataclass(frozen=True, slots=True)
class _Span:
    """How long one measurement takes."""

    warm_up_s: float
    duration_s: float
    requests: int


class Client:
    """Sends loads of one plan's images to one plan's endpoints; a context manager.

    Entering it checks that the servers are there and have the model, makes all requests, and starts
    the processes; they and their connections are kept from one measurement to the next.
    """

    def __init__(self, plan: Plan, watch: Watch | None = None) -> None:
        self._plan = plan
        self._watch = watch
        self._processes: list[Process] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            plan = self._plan
            prepared = prepare(plan)
            self._file = stack.enter_context(tempfile.TemporaryFile())
            self._setup = Setup(
                prepared.sources,
                prepared.form,
                _store(prepared.requests, self._file),
                tuple(replace(image, content=None) for image in plan.images),
                plan.timeout_s,
                plan.connections,
                plan.resolve_every_s,
            )
            stack.callback(self._close)
            self._start(max(plan.processes, 1))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def model(self) -> str:
        """The model that is asked."""
        return self._setup.form.model

    def measure(self, load: Load | None = None) -> Report:
        """One measurement, of the plan's load or another one.

        Ctrl-C ends it early, or the wait for the last answers, and the report says so.

        Raises:
            LoadError: a process of the client cannot go on, or the load needs more connections
                than there may be.
        """
        load = load or self._plan.load
        plan = self._plan
        require_connections(plan, load)
        span = _Span(plan.warm_up_s, plan.duration_s, plan.requests)
        most = load.concurrency if isinstance(load, Closed) else max(_cores(), plan.processes)
        if plan.requests:  # so many and no others, so nothing can be tried before
            most = min(most, plan.requests)
            return self._run(load, min(plan.processes or 1, most), span, self._watch)
        if plan.processes:
            return self._run(load, min(plan.processes, most), span, self._watch)
        count, most = 1, min(most, _cores())
        while count < most:
            probe = self._run(load, count, _Span(0, PROBE_S, 0), None)
            if probe.stop_wanted:
                return replace(probe, interrupted=True)  # the load itself was never measured
            if probe.client.busiest_ratio < ENOUGH_RATIO:
                break
            count = min(2 * count, most)
        return self._run(load, count, span, self._watch)

    def _run(self, load: Load, workers: int, span: _Span, watch: Watch | None) -> Report:
        self._start(workers)
        begin_ns = time.monotonic_ns() + round(HEAD_START_S * 1e9)
        start_ns = begin_ns + round(span.warm_up_s * 1e9)
        end_ns = start_ns + round(span.duration_s * 1e9)
        taking_part = self._processes[:workers]
        for worker, process in enumerate(taking_part):
            limit = share(span.requests, worker, workers)
            process.tell(
                Measure(load, worker, workers, begin_ns, start_ns, end_ns, limit, self._plan.seed)
            )
        progress = Progress(load, start_ns, end_ns, workers)
        with Interrupts() as interrupts:
            results = self._collect(taking_part, progress, watch, interrupts)
        return report(load, start_ns, results, stop_wanted=interrupts.wanted)

    def _collect(
        self,
        taking_part: Sequence[Process],
        progress: Progress,
        watch: Watch | None,
        interrupts: Interrupts,
    ) -> list[Result]:
        """Listen until all have answered; they beat every second, so no interrupt waits longer.

        An answer may come as late as its timeout allows, and what follows from a late one later
        still: a process is given up when it is silent, not when it takes long.
        """
        stopped = False
        results: list[Result] = []
        by_connection = {process.connection: process for process in taking_part}
        heard_s = dict.fromkeys(by_connection, time.monotonic())
        while heard_s:
            last_s = min(heard_s.values()) + PATIENCE_S
            readable = wait(list(heard_s), max(last_s - time.monotonic(), 0))
            if interrupts.wanted and not stopped:
                stopped = True
                for process in taking_part:
                    process.tell(Stop())
            if not readable and time.monotonic() >= last_s:
                raise LoadError(
                    f"a process of the load client has been silent for {PATIENCE_S} s: stopped, or "
                    "kept from running? Send less, or from another machine"
                )
            for connection in readable:
                process = by_connection[connection]  # type: ignore[index]  # a Connection, as given
                reply = process.hear()
                heard_s[process.connection] = time.monotonic()
                if isinstance(reply, Refused):
                    raise LoadError(reply.reason)
                if isinstance(reply, Result):
                    results.append(reply)
                    del heard_s[process.connection]
                elif isinstance(reply, Beat):
                    progress.take(self._processes.index(process), reply)
                    if watch is not None and progress.complete:
                        watch(progress.snapshot())
        return results

    def _start(self, count: int) -> None:
        new = [Process(self._file.fileno()) for _ in range(count - len(self._processes))]
        self._processes += new
        for process in new:
            process.tell(self._setup)
        for process in new:
            reply = process.hear()
            if not isinstance(reply, Ready):
                raise LoadError(reply.reason if isinstance(reply, Refused) else str(reply))

    def _close(self) -> None:
        for process in self._processes:
            process.close()


def _store(requests: Sequence[Request], file: IO[bytes]) -> tuple[Stored, ...]:
    """Write the bodies one after the other."""
    stored = []
    for request in requests:
        at = file.tell()
        file.write(request.body)
        stored.append(Stored(request.images, request.start, request.headers, at, len(request.body)))
    file.flush()
    return tuple(stored)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
