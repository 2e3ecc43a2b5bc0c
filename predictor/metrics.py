"""Prometheus metrics of all processes, merged in one scrape.

The client library's multiprocess mode keeps each process's numbers in a file that outlives it, so
a scrape of any frontend shows the whole pod and a killed process loses no count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from predictor.capacity import STAGES, Balance
from predictor.metric_files import reading
from predictor.slab import Outcome

SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
# Of whole requests: steps of a third to a half, so that a p99 can be told from one not much larger.
REQUEST_SECONDS = (
    *(0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05),
    *(0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 1.5, 2, 3, 4, 5, 7.5, 10),
)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_requests = Counter(
    "millrace_requests", "Requests answered.", ["model", "version", "protocol", "code"]
)
_request_seconds = Histogram(
    "millrace_request_seconds",
    "Seconds of a request that was answered well, from its first byte to its answer.",
    ["model", "version"],
    buckets=REQUEST_SECONDS,
)
_images = Counter(
    "millrace_images", "Images by what became of them.", ["model", "version", "instance", "outcome"]
)
_stage = Histogram(
    "millrace_stage_seconds",
    "Busy seconds per image in a stage.",
    ["model", "stage"],
    buckets=SECONDS,
)
_batch = Histogram("millrace_batch_size", "Images per batch.", ["model", "instance"], buckets=SIZES)
_rejected = Counter("millrace_rejected", "Requests refused.", ["model", "reason"])
_queue_depth = Gauge(
    "millrace_queue_depth",
    "Images handed to an instance and not yet answered.",
    ["model", "instance"],
    multiprocess_mode="livesum",
)
_up = Gauge(
    "millrace_instance_up",
    "1 while the instance takes work.",
    ["model", "instance"],
    multiprocess_mode="livemax",
)
_restarts = Counter(
    "millrace_instance_restarts", "Times an instance was started again.", ["model", "instance"]
)
_failures = Counter(
    "millrace_batch_failures",
    "Batches on which the runtime failed; what can be is computed in smaller ones.",
    ["model", "instance", "reason"],
)
_frontend_restarts = Counter(
    "millrace_frontend_restarts", "Times a frontend was started again.", ["frontend"]
)
_registry_up = Gauge(
    "millrace_registry_up",
    "1 while the registry that the pod follows answers.",
    ["model"],
    multiprocess_mode="mostrecent",
)
_busy = Counter(
    "millrace_instance_busy_seconds",
    "Seconds an instance's device ran batches.",
    ["model", "instance"],
)


# Computed at the scrape, from what all processes have counted.
BUSY_RATIO = "millrace_instance_busy_ratio"
CAPACITY = "millrace_stage_capacity"
BOTTLENECK = "millrace_bottleneck"
COMPUTED = (BUSY_RATIO, CAPACITY, BOTTLENECK)

# What a rollout asks for by version stands at zero before the first such request: Prometheus
# learns of a counter by its first value, and cannot tell by how much it had grown until then.
EXPECTED = {
    "v1": ("200", "500", "503", "504"),
    "v2": ("200", "500", "503", "504"),
    "grpc": ("OK", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"),
}


class FrontendMetrics:
    """What a frontend counts.

    Args:
        model: the name it is served under.
        version: the version served.
    """

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        self._answered: dict[tuple[str, str], Counter] = {
            (protocol, code): _requests.labels(model, version, protocol, code)
            for protocol, codes in EXPECTED.items()
            for code in codes
        }
        self._seconds = _request_seconds.labels(model, version)

    def answered(self, protocol: str, code: str) -> None:
        """A request was answered, with an HTTP status or a gRPC code's name."""
        counter = self._answered.get((protocol, code))
        if counter is None:
            counter = _requests.labels(self.model, self.version, protocol, code)
            self._answered[protocol, code] = counter
        counter.inc()

    def took(self, seconds: float) -> None:
        """A request was answered well, so many seconds after its first byte."""
        self._seconds.observe(seconds)

    def rejected(self, reason: str) -> None:
        """A request was refused before it was decoded."""
        _rejected.labels(self.model, reason).inc()

    def stage(self, stage: str) -> Histogram:
        """The histogram of one stage, to be kept and observed."""
        return _stage.labels(self.model, stage)

    def attached(self, instance: int, up: bool) -> None:
        """An instance came or went."""
        _up.labels(self.model, instance).set(int(up))

    def queue_depth(self, instance: int, images: int) -> None:
        """Note how many images this frontend has outstanding at an instance."""
        _queue_depth.labels(self.model, instance).set(images)


class InstanceMetrics:
    """What an instance counts, once per batch so that an image costs almost nothing."""

    def __init__(self, model: str, version: str, instance: int) -> None:
        self._model, self._instance = model, instance
        self._batch_size = _batch.labels(model, instance)
        self._busy = _busy.labels(model, instance)
        self._stages = {name: _stage.labels(model, name) for name in STAGES[2:6]}
        self._outcomes = {
            outcome: _images.labels(model, version, instance, outcome.name.lower())
            for outcome in Outcome
        }

    def batch_ran(self, size: int, seconds: float) -> None:
        """A batch of ``size`` images occupied the device for ``seconds``."""
        self._batch_size.observe(size)
        self._busy.inc(seconds)
        self._stages["infer"].observe(seconds / size)

    def batch_failed(self, reason: str) -> None:
        """The runtime raised on a batch: ``out_of_memory`` or ``error``."""
        _failures.labels(self._model, self._instance, reason).inc()

    def stage_took(self, stage: str, seconds: float) -> None:
        """One image spent ``seconds`` in a stage."""
        self._stages[stage].observe(seconds)

    def outcome(self, outcome: Outcome, images: int = 1) -> None:
        """What became of images."""
        self._outcomes[outcome].inc(images)


def instance_restarted(model: str, instance: int) -> None:
    """Count a process that replaces one that died; counted first thing, in case it dies as well."""
    _restarts.labels(model, instance).inc()


def frontend_restarted(frontend: int) -> None:
    """Count a process that replaces a frontend that died."""
    _frontend_restarts.labels(frontend).inc()


def registry_is(model: str, *, up: bool) -> None:
    """Note whether the registry answered when it was last asked."""
    _registry_up.labels(model).set(int(up))


class BusyRatios(Collector):
    """The busy ratio of every instance of ``model``, by their numbers."""

    def __init__(self, model: str, ratios: Mapping[int, float]) -> None:
        self._model = model
        self._ratios = ratios

    def collect(self) -> Iterator[Metric]:
        """One gauge with a sample per instance."""
        family = GaugeMetricFamily(
            BUSY_RATIO,
            "Share of the last ten seconds in which the instance's device ran batches.",
            labels=["model", "instance"],
        )
        for instance, ratio in self._ratios.items():
            family.add_metric([self._model, str(instance)], ratio)
        yield family


class StageGauges(Collector):
    """What each stage of ``model`` could do, and which of them is the limit."""

    def __init__(self, model: str, found: Balance) -> None:
        self._model = model
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Two gauges with a sample per stage; no capacity where nothing has been measured."""
        labels = ["model", "stage"]
        capacity = GaugeMetricFamily(
            CAPACITY,
            "Images per second that a stage could do if the others were no limit.",
            labels=labels,
        )
        bottleneck = GaugeMetricFamily(
            BOTTLENECK, "1 for the stage that limits the pod.", labels=labels
        )
        found = self._found
        for stage in found.stages:
            if stage.capacity is not None:
                capacity.add_metric([self._model, stage.name], stage.capacity)
            bottleneck.add_metric([self._model, stage.name], float(stage is found.bottleneck))
        yield from (capacity, bottleneck)


def scrape(*computed: Collector) -> tuple[bytes, str]:
    """All processes' metrics in Prometheus' text format, and its content type.

    Args:
        computed: what is not counted by any process, but computed now.
    """
    registry = CollectorRegistry()
    files = multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    for collector in computed:
        registry.register(collector)
    with reading(Path(files._path)):  # noqa: SLF001 (where it reads)
        return generate_latest(registry), CONTENT_TYPE_LATEST
