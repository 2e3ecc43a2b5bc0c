"""Everyone who wants to know of a request, told once, when it is over."""

from __future__ import annotations

import time
from typing import Protocol

from predictor.metrics import FrontendMetrics
from predictor.observation import PROBE, Observation
from predictor.request_log import RequestLog
from predictor.versions import Versions

ANSWERED_WELL = ("200", "OK")


class Recorder(Protocol):
    """Takes observations; a ``tracing.Tracer``, which is imported only where it is wanted."""

    def record(self, observation: Observation) -> None:
        """Take one."""


class Observer:
    """Feeds one frontend's metrics, statistics, log and trace.

    Args:
        versions: of the model; each has its own counts.
        log: one line a request, where it is wanted.
        tracer: spans, where they are wanted.
    """

    def __init__(self, versions: Versions, log: RequestLog, tracer: Recorder | None) -> None:
        self._versions = versions
        self._log = log
        self._tracer = tracer

    def refused(self, reason: str) -> None:
        """A request found no room; that it is over will be told as well."""
        self._versions.current.metrics.rejected(reason)

    def finished(self, observation: Observation) -> None:
        """A request is over, whichever way."""
        observation.ended_ns = time.monotonic_ns()
        self._count(observation)
        self._log.write(observation)
        if self._tracer is not None:
            self._tracer.record(observation)

    def _count(self, observation: Observation) -> None:
        """For the version that took it, or that it would have been sent to."""
        if observation.version:
            served = self._versions.get(observation.version)
        else:
            served = self._versions.turned_away()
        if served is None:  # it has been answered, and its version is gone with its memory
            metrics = FrontendMetrics(self._versions.name, observation.version)
            _answered(metrics, observation)
            return
        _answered(served.metrics, observation)
        if observation.parsed_ns:
            served.receive_seconds.observe((observation.parsed_ns - observation.read_ns) / 1e9)
        if observation.classified_ns:
            rendered_ns = observation.rendered_ns or observation.ended_ns
            served.respond_seconds.observe((rendered_ns - observation.classified_ns) / 1e9)
        served.counts.count(observation)


def _answered(metrics: FrontendMetrics, observation: Observation) -> None:
    metrics.answered(observation.protocol, observation.code)
    if observation.protocol == PROBE:
        return  # it waits for everybody's requests, by its low priority
    if observation.last is not None and observation.code in ANSWERED_WELL:
        answered_ns = observation.rendered_ns or observation.ended_ns
        metrics.took((answered_ns - observation.began_ns) / 1e9)
