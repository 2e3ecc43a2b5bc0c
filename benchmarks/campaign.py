"""The order of a comparison: choose settings, then rounds of bare loop, Millrace, stock KServe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.bare import BATCH_SIZES, BareResult, bare_loop
from benchmarks.load import GrpcBody, LoadResult, run_h2load, run_wrk
from benchmarks.models import Model, Photo
from benchmarks.payloads import Prepared, prepare
from benchmarks.processes import Meter
from benchmarks.report import BARE, STOCK, Measurement, ModelResult
from benchmarks.servers import (
    MILLRACE_GRPC,
    MILLRACE_ROUTES,
    PLAIN_ROUTES,
    STOCK_CHOICES,
    STOCK_RAW,
    STOCK_ROUTES,
    TUNED_ROUTES,
    Route,
    Running,
    StockOptions,
    check_answers,
    millrace,
    stock_kserve,
)
from model_store.package import ModelPackage

CONCURRENCIES = (16, 64)
GRPC_PREFIX_BYTES = 5
WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: int  # of each measurement
    choosing_seconds: int  # of each trial before the rounds


@dataclass(slots=True)
class Campaign:
    """The comparison for one model."""

    model: Model
    package: ModelPackage
    network: Path  # what was packaged
    photos: Sequence[Photo]
    folder: Path  # for requests and logs
    store: Path
    plan: Plan
    say: Callable[[str], None]
    measurements: list[Measurement] = field(default_factory=list)

    def run(self) -> ModelResult:
        """Choose what the others run best with, then measure round by round."""
        batch_size, bare_trials = self._choose_batch_size()
        options, stock_trials = self._choose_stock_options()
        for number in range(1, self.plan.rounds + 1):
            self._measure_bare(batch_size, number)
            self._measure_millrace(number)
            plain = replace(options, network=self.network)
            self._measure_stock(plain, PLAIN_ROUTES, number)
            self._measure_stock(options, STOCK_ROUTES, number)
            self._measure_stock(replace(options, tuned=True), TUNED_ROUTES, number)
        settings = (
            f"Bare loop: a worker per core, batch size {batch_size} ({bare_trials}).",
            f"Millrace: {self.model.frontends} frontend(s), {self.model.instances} instance(s).",
            f"Stock KServe: {options} ({stock_trials}).",
        )
        return ModelResult(self.model.name, settings, tuple(self.measurements))

    def _choose_batch_size(self) -> tuple[int, str]:
        trials = [self._bare(size, self.plan.choosing_seconds) for size in BATCH_SIZES]
        best = max(trials, key=lambda trial: trial.images_per_second)
        texts = [f"{trial.batch_size}: {trial.images_per_second:,.0f}/s" for trial in trials]
        self.say(f"bare loop by batch size: {', '.join(texts)}")
        return best.batch_size, ", ".join(texts)

    def _choose_stock_options(self) -> tuple[StockOptions, str]:
        speeds = {options: self._try_stock(options) for options in STOCK_CHOICES}
        texts = "; ".join(f"{options}: {speed:,.0f}/s" for options, speed in speeds.items())
        self.say(f"stock KServe by configuration: {texts}")
        return max(speeds, key=speeds.__getitem__), texts

    def _try_stock(self, options: StockOptions) -> float:
        with stock_kserve(self.package.path, self.model.name, options, self._log(STOCK)) as running:
            line = self._line(running, STOCK_RAW)
            self._load(line, CONCURRENCIES[0], WARM_UP_S)
            load = self._load(line, CONCURRENCIES[0], self.plan.choosing_seconds)
        return load.requests / load.seconds

    def _measure_bare(self, batch_size: int, number: int) -> None:
        result = self._bare(batch_size, self.plan.seconds)
        self._keep(
            Measurement(
                model=self.model.name,
                system=BARE,
                concurrency=0,
                round=number,
                images=sum(worker.images for worker in result.workers),
                images_per_second=result.images_per_second,
                p50_ms=None,
                p99_ms=None,
                usage=tuple(worker.usage for worker in result.workers),
                load_cpu_s=0.0,
            )
        )

    def _bare(self, batch_size: int, seconds: float) -> BareResult:
        images = [photo.file.read_bytes() for photo in self.photos]
        return bare_loop(self.package.path, images, batch_size, seconds)

    def _measure_millrace(self, number: int) -> None:
        with millrace(self.model, self.store, self._log("millrace")) as running:
            for route in MILLRACE_ROUTES:
                self._measure_route(self._line(running, route), number)

    def _measure_stock(self, options: StockOptions, routes: Sequence[Route], number: int) -> None:
        with stock_kserve(self.package.path, self.model.name, options, self._log(STOCK)) as running:
            for route in routes:
                self._measure_route(self._line(running, route), number)

    def _measure_route(self, line: _Line, number: int) -> None:
        for concurrency in CONCURRENCIES:
            self._load(line, concurrency, WARM_UP_S)
            meter = Meter(line.running.server.family())
            load = self._load(line, concurrency, self.plan.seconds)
            self._keep(
                Measurement(
                    model=self.model.name,
                    system=line.route.title,
                    concurrency=concurrency,
                    round=number,
                    images=load.requests,
                    images_per_second=load.requests / load.seconds,
                    p50_ms=load.p50_ms,
                    p99_ms=load.p99_ms,
                    usage=meter.read(),
                    load_cpu_s=load.tool_cpu_s,
                )
            )

    def _line(self, running: Running, route: Route) -> _Line:
        """A route of a running server with its requests at hand, each proven to be answered."""
        jpegs = [photo.file.read_bytes() for photo in self.photos]
        folder = self.folder / route.payload.__name__
        requests = prepare(route.payload, self.model.name, jpegs, folder)
        lengths = check_answers(running, route, requests, self.photos)
        return _Line(running, route, tuple(requests), tuple(lengths))

    def _load(self, line: _Line, concurrency: int, seconds: int) -> LoadResult:
        if line.route is not MILLRACE_GRPC:
            files = [request.file for request in line.requests]
            return run_wrk(line.running.http_port, files, concurrency, seconds)
        bodies = [
            GrpcBody(request.file, length + GRPC_PREFIX_BYTES)
            for request, length in zip(line.requests, line.answer_bytes, strict=True)
        ]
        folder = self.folder / "h2load"
        return run_h2load(line.running.grpc_port, bodies, concurrency, seconds, folder)

    def _keep(self, measured: Measurement) -> None:
        self.measurements.append(measured)
        in_flight = f", {measured.concurrency} in flight" if measured.concurrency else ""
        self.say(
            f"round {measured.round}: {measured.system}{in_flight}: "
            f"{measured.images_per_second:,.1f} images/s"
        )

    def _log(self, system: str) -> Path:
        return self.folder / f"{system.replace(' ', '-')}.log"


@dataclass(frozen=True, slots=True)
class _Line:
    """What is needed to load one route of one running server."""

    running: Running
    route: Route
    requests: tuple[Prepared, ...]
    answer_bytes: tuple[int, ...]
