"""One version of the model as one frontend serves it: where its requests go, and their counts."""

from __future__ import annotations

import time
from collections.abc import Callable

from model_store.package import Variant
from predictor.classifier import ImageClassifier
from predictor.dispatch import Dispatcher
from predictor.metrics import FrontendMetrics
from predictor.pulse import BEAT_S, Pulse
from predictor.slab import Channel
from predictor.stage_report import StageReport, stage_report
from predictor.statistics import RequestCounts, Statistics
from predictor.types import BatchCost
from predictor.window import Window
from predictor.workers import Use, Workers, use

STALLED_NS = int(4 * BEAT_S * 1e9)  # an instance silent for so long gets no new images


class ServedVersion:
    """One version; its dispatcher and classifier are its own, the decoders are everybody's.

    Args:
        classifier: the request path.
        metrics: Prometheus' counts of this frontend.
        statistics: of the whole pod's requests for this version.
        frontend: this frontend's number.
        devices: those of its instances.
        loaded: whether requests are taken at first.
    """

    def __init__(
        self,
        classifier: ImageClassifier,
        metrics: FrontendMetrics,
        statistics: Statistics,
        frontend: int,
        devices: tuple[str, ...],
        *,
        loaded: bool,
    ) -> None:
        self.classifier = classifier
        self.dispatcher: Dispatcher = classifier.dispatcher
        self.devices = dict(zip(statistics.layout.numbers, devices, strict=False))
        self.name: str = classifier.version
        self.metrics = metrics
        self.statistics = statistics
        self.counts: RequestCounts = statistics.requests(frontend)
        self.receive_seconds = metrics.stage("receive")
        self.respond_seconds = metrics.stage("respond")
        self._window = Window(statistics.read)
        self._report: StageReport | None = None  # as of the window's last look
        self._pulses: dict[int, Pulse] = {}
        self._variants: dict[int, str] = {}
        self._loaded = loaded
        self.dispatcher.admit(loaded)

    @property
    def ready(self) -> bool:
        """It is loaded, and an instance of it takes work and gives signs of life."""
        return self._loaded and self.dispatcher.able

    def admit(self, admitting: bool) -> None:
        """Take new requests, or refuse them while those that were accepted are finished."""
        self._loaded = admitting
        self.dispatcher.admit(admitting)

    @property
    def variant(self) -> Variant:
        """What its first instance serves; the package's first one while there is none."""
        manifest = self.classifier.package.manifest
        file = self._variants[min(self._variants)] if self._variants else ""
        named = [variant for variant in manifest.variants if variant.file == file]
        return named[0] if named else manifest.variants[0]

    def attach(
        self, instance: int, channel: Channel, cost: BatchCost, pulse: Pulse, variant: str
    ) -> None:
        """An instance of this version is ready, and serves the variant in this file."""
        self._pulses[instance] = pulse
        self._report = None
        self._variants[instance] = variant
        self.dispatcher.attach(instance, channel, cost)

    def sample(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        """Look at what has been counted, and whether instances are alive; a few times a second."""
        if self._window.sample():
            self._report = None
        now_ns = clock()
        for instance, pulse in self._pulses.items():
            self.dispatcher.set_stalled(instance, now_ns - pulse.beat_ns > STALLED_NS)

    def busy_ratios(self) -> dict[int, float]:
        """Each instance's busy share of the last ten seconds, by its number."""
        return dict(zip(self.devices, self._window.busy_ratios(), strict=False))

    def use(self) -> Use:
        """What it has taken of what all versions share, over the last ten seconds."""
        lately = self._window.lately()
        counts = lately.counts
        cpu_ns = sum(counts.cpu_ns(number)[0] for number in counts.layout.numbers)
        return use(counts.work, cpu_ns / 1e9, lately.seconds)

    def stages(self, workers: Workers) -> StageReport:
        """What each stage could do, by what was counted lately, and how the instances are doing.

        Reckoned once for each look at the counts, however often it is asked for.
        """
        if self._report is None:
            attached, coming = self.dispatcher.attached()
            self._report = stage_report(self._window, self.devices, attached, coming, workers)
        return self._report
