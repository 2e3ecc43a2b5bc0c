"""Who counts a request whose version has gone while it was answered."""

from __future__ import annotations

import time
import uuid

from prometheus_client import REGISTRY

from predictor.observation import ImageTimes, Observation
from predictor.observer import Observer
from predictor.request_log import RequestLog
from predictor.versions import Versions


def test_a_request_that_outlives_its_version_counts_for_that_one():
    """Its memory is given back by then, the metrics are not."""
    name = uuid.uuid4().hex
    observer = Observer(
        Versions(name, 8, {}, lambda: None), RequestLog("off", time.monotonic), None
    )
    observation = Observation("v2", "POST /", "id", code="200", version="7", last=ImageTimes())
    observation.began_ns, observation.rendered_ns = 1_000_000_000, 1_250_000_000

    observer.finished(observation)

    labels = {"model": name, "version": "7"}
    total = {**labels, "protocol": "v2", "code": "200"}
    assert REGISTRY.get_sample_value("millrace_requests_total", total) == 1
    assert REGISTRY.get_sample_value("millrace_request_seconds_sum", labels) == 0.25
