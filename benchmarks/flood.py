"""A pod at its peak, below it, and flooded with more than it can do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.census import Census, census
from benchmarks.load import LoadResult, run_wrk
from benchmarks.models import MODELS, package
from benchmarks.open_loop import Answers, run_open_loop
from benchmarks.payloads import prepare
from benchmarks.pod import batch_ms, costs, scrape
from benchmarks.servers import MILLRACE_V2, Running, check_answers, millrace

FOLDER = Path("var/bench-overload")
IN_FLIGHT = (8, 16, 32)  # in the closed loop; the best one is the peak
WARM_UP_S = 2
STEADY_SHARE = 0.7
SPARE_WAIT = 2.0  # open-loop clients reckon with answers this many times later than the bound


@dataclass(frozen=True, slots=True)
class Load:
    """How much, and for how long."""

    seconds: float  # of each open loop
    peak_seconds: int  # of each closed loop
    times: float  # of the peak
    bound_s: float  # on the time of a request


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was seen."""

    load: Load
    cores: int  # that server and load tool share
    peaks: tuple[LoadResult, ...]  # before and after the open loops
    full_batch_ms: float  # at warm-up, and under the load of the peak
    loaded_batch_ms: float
    steady: Answers
    flood: Answers
    rejected: Counter[str]  # by reason, during the flood
    before: Census
    after: Census

    @property
    def peak(self) -> float:
        """Images per second, the mean of before and after."""
        return sum(load.requests / load.seconds for load in self.peaks) / len(self.peaks)

    @property
    def tool_share(self) -> tuple[float, float]:
        """Cores that the load tool took: at the peak, and in the flood."""
        peak = sum(load.tool_cpu_s / load.seconds for load in self.peaks) / len(self.peaks)
        return peak, self.flood.tool_cpu_s / self.flood.run_s

    @property
    def goodput_by_core(self) -> float:
        """Goodput in the flood relative to the peak, each by the cores the load tool left."""
        peak_tool, flood_tool = self.tool_share
        flood = self.flood.per_second() / (self.cores - flood_tool)
        return flood / (self.peak / (self.cores - peak_tool))


def measure(name: str, load: Load, assets: Path, say: Callable[[str], None]) -> Outcome:
    """Package, serve, and load in turn."""
    model, store, log = MODELS[name], FOLDER / "store", FOLDER / "millrace.log"
    package(model, assets, store)
    photos = model.photos(assets, FOLDER / "photos")
    jpegs = [photo.file.read_bytes() for photo in photos]
    requests = prepare(MILLRACE_V2.payload, name, jpegs, FOLDER / "requests")
    files = [request.file for request in requests]
    with millrace(model, store, log, "--request-timeout-s", str(load.bound_s)) as running:
        check_answers(running, MILLRACE_V2, requests, photos)
        run_wrk(running.http_port, files, IN_FLIGHT[-1], WARM_UP_S)
        peak = _peak(running, files, load, say)
        found = min(costs(log), key=lambda cost: cost.full_batch_ms)
        sizes = batch_ms(running.http_port, name)
        loaded_ms = sizes.get(found.max_batch_size, found.full_batch_ms)
        rate = peak.requests / peak.seconds
        steady = _open_loop(running, files, STEADY_SHARE * rate, load)
        say(f"at {steady.rate:.0f}/s: {steady.counts}")
        _open_loop(running, files, load.times * rate, load, load.peak_seconds)  # touch all memory
        before = census(running.server.family())
        rejected = _rejected(running)
        flood = _open_loop(running, files, load.times * rate, load)
        say(f"at {flood.rate:.0f}/s: {flood.counts}")
        rejected = _rejected(running) - rejected
        after = census(running.server.family())
        peaks = peak, _peak(running, files, load, say)
    cores = len(os.sched_getaffinity(0))
    return Outcome(
        load, cores, peaks, found.full_batch_ms, loaded_ms, steady, flood, rejected, before, after
    )


def _peak(
    running: Running, files: Sequence[Path], load: Load, say: Callable[[str], None]
) -> LoadResult:
    trials = [
        run_wrk(running.http_port, files, in_flight, load.peak_seconds) for in_flight in IN_FLIGHT
    ]
    texts = [f"{trial.requests / trial.seconds:,.0f}/s" for trial in trials]
    say(f"closed loop, {IN_FLIGHT} in flight: {', '.join(texts)}")
    return max(trials, key=lambda trial: trial.requests / trial.seconds)


def _open_loop(
    running: Running, files: Sequence[Path], rate: float, load: Load, seconds: float = 0.0
) -> Answers:
    wait_s = SPARE_WAIT * load.bound_s
    folder = FOLDER / "h2load"
    return run_open_loop(running.http_port, files, rate, seconds or load.seconds, wait_s, folder)


def _rejected(running: Running) -> Counter[str]:
    return scrape(running.http_port).by("millrace_rejected_total", "reason")
