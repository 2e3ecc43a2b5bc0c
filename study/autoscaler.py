"""How many pods there shall be: Knative's autoscaler and Kubernetes' horizontal one. Pure.

Knative: https://knative.dev/docs/serving/autoscaling/kpa-specific/ and the algorithm of
``pkg/autoscaler/scaling/autoscaler.go``. Kubernetes:
https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/ .
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Seen:
    """What an autoscaler sees of the time since it looked last.

    Attributes:
        ready: pods that answer.
        wanted: pods that it asked for last, ready or not.
        concurrency: requests in flight at all of them together, on average.
        load: images a second that were answered, by the pods that are ready, as a share of what one
            can answer. What is refused is in no metric of answered images.
    """

    ready: int
    wanted: int
    concurrency: float
    load: float


class Autoscaler(Protocol):
    """Looks every ``period_s``."""

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""

    def desired(self, now_s: float, seen: Seen) -> int:
        """How many pods there shall be from now on."""


@dataclass(frozen=True, slots=True)
class Knative:
    """The settings of ``config-autoscaler``, at their defaults.

    Attributes:
        target: requests in flight that a pod shall have.
        window_s: stable-window.
        panic_share: panic-window-percentage / 100, of the stable window.
        panic_threshold: panic-threshold-percentage / 100, times the pods that are ready.
        up, down: max-scale-up-rate and max-scale-down-rate, times the pods that are ready.
        period_s: tick-interval.
        least: min-scale.
    """

    target: float
    window_s: float = 60.0
    panic_share: float = 0.1
    panic_threshold: float = 2.0
    up: float = 1000.0
    down: float = 2.0
    period_s: float = 2.0
    least: int = 1


class KnativeAutoscaler:
    """Concurrency over a minute, or over six seconds when it has doubled."""

    def __init__(self, settings: Knative) -> None:
        self._settings = settings
        self._seen: deque[tuple[float, float]] = deque()
        self._panic_since_s: float | None = None
        self._most_in_panic = 0

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._settings.period_s

    def desired(self, now_s: float, seen: Seen) -> int:
        """How many pods there shall be; in panic never fewer than there were to be."""
        settings, ready = self._settings, max(1, seen.ready)
        self._seen.append((now_s, seen.concurrency))
        while self._seen[0][0] <= now_s - settings.window_s:
            self._seen.popleft()
        most, fewest = math.ceil(settings.up * ready), math.floor(ready / settings.down)
        steady = math.ceil(self._mean(now_s, settings.window_s) / settings.target)
        hasty = math.ceil(
            self._mean(now_s, settings.window_s * settings.panic_share) / settings.target
        )
        wanted = min(max(steady, fewest), most)
        wanted_in_panic = min(max(hasty, fewest), most)
        if hasty / ready >= settings.panic_threshold:
            self._panic_since_s = now_s
        elif self._panic_since_s is not None and self._panic_since_s + settings.window_s < now_s:
            self._panic_since_s, self._most_in_panic = None, 0
        if self._panic_since_s is not None:
            self._most_in_panic = max(self._most_in_panic, wanted, wanted_in_panic)
            wanted = self._most_in_panic
        return max(settings.least, wanted)

    def _mean(self, now_s: float, window_s: float) -> float:
        within = [concurrency for at_s, concurrency in self._seen if at_s > now_s - window_s]
        return sum(within) / len(within)


@dataclass(frozen=True, slots=True)
class Horizontal:
    """The settings of the horizontal pod autoscaler, at their defaults.

    Attributes:
        target: load that a pod shall have, 0 to 1; a custom metric: the rate of answered images
            (``millrace_images_total``), as KEDA or an adapter reads it from Prometheus. How busy
            its accelerator is says nothing of that: see ``study.curve.Curve.busy``.
        period_s: horizontal-pod-autoscaler-sync-period.
        tolerance: horizontal-pod-autoscaler-tolerance.
        stabilisation_s: of scaling down: the highest of what was wanted in that time.
        up_pods, up_share: in 15 s so many more pods, or such a share of them, whichever is more.
        least: minReplicas.
    """

    target: float
    period_s: float = 15.0
    tolerance: float = 0.1
    stabilisation_s: float = 300.0
    up_pods: int = 4
    up_share: float = 1.0
    least: int = 1


@dataclass(slots=True)
class HorizontalAutoscaler:
    """Load ÷ target, times the pods there are; pods that start count as idle."""

    settings: Horizontal
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self.settings.period_s

    def desired(self, now_s: float, seen: Seen) -> int:
        """How many pods there shall be; fewer only if nothing in five minutes asked for more."""
        settings = self.settings
        recommended = self._recommended(seen)
        self._wanted.append((now_s, recommended))
        while self._wanted[0][0] < now_s - settings.stabilisation_s:
            self._wanted.popleft()
        if recommended > seen.wanted:
            most = max(
                seen.wanted + settings.up_pods, math.floor(seen.wanted * (1 + settings.up_share))
            )
            return min(recommended, most)
        highest = max(wanted for _, wanted in self._wanted)
        return max(settings.least, min(seen.wanted, highest))

    def _recommended(self, seen: Seen) -> int:
        settings = self.settings
        if not seen.ready:
            return max(settings.least, seen.wanted)
        ratio = seen.load / settings.target
        if abs(ratio - 1) <= settings.tolerance:
            return seen.wanted
        if ratio > 1 and seen.wanted > seen.ready:
            ratio = seen.load * seen.ready / (settings.target * seen.wanted)
            return seen.wanted if ratio <= 1 + settings.tolerance else _times(seen.wanted, ratio)
        return max(settings.least, _times(seen.ready, ratio))


def _times(pods: int, ratio: float) -> int:
    """Rounded up, but for what floating point adds."""
    return math.ceil(pods * ratio - 1e-9)


@dataclass(frozen=True, slots=True)
class Constant:
    """As many as the peak needs, all day."""

    pods: int
    period_s: float = 60.0

    def desired(self, now_s: float, seen: Seen) -> int:
        """Always the same."""
        return self.pods
