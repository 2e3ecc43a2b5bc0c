"""Counts that all processes of a pod share."""

from __future__ import annotations

import os
import subprocess
import sys

from predictor.observation import ImageTimes, Observation
from predictor.statistics import Statistics, StatisticsLayout

LAYOUT = StatisticsLayout(frontends=2, instances=2, largest_batch=4)


def answered(**more: object) -> Observation:
    """A request whose stages took 1, 2, 4, … ns."""
    observation = Observation("v2", "POST /", "id", **more)  # type: ignore[arg-type]
    observation.began_ns, observation.ended_ns = 100, 200
    observation.last = ImageTimes(
        accepted_ns=101,
        decode_began_ns=102,
        decoded_ns=104,
        infer_began_ns=108,
        infer_ended_ns=116,
        collected_ns=132,
    )
    return observation


def test_an_answered_request_counts_once_in_every_duration():
    """Waiting for a decoder and for the device is queue; decode is input; the way back output."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.requests(0).count(answered())
    statistics.requests(1).count(answered())

    totals = statistics.totals().requests

    assert {name: (d.count, d.ns) for name, d in totals.items()} == {
        "success": (2, 200),
        "fail": (0, 0),
        "queue": (2, 2 * (1 + 4)),
        "compute_input": (2, 2 * 2),
        "compute_infer": (2, 2 * 8),
        "compute_output": (2, 2 * 84),
    }


def test_a_request_with_an_error_counts_as_one_failure():
    """Even where its other images were answered, as v1 does."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.requests(0).count(answered(error="image 1: broken"))
    statistics.requests(0).count(Observation("v2", "POST /", "id", error="no JSON"))

    totals = statistics.totals().requests

    assert (totals["success"].count, totals["fail"].count, totals["queue"].count) == (0, 2, 0)


def test_batches_are_counted_by_size_over_all_instances():
    """Images are batches times their sizes."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.batches(0).count(1, 10, 100, 1000)
    statistics.batches(0).count(4, 1, 2, 3)
    statistics.batches(1).count(4, 1, 2, 3)

    totals = statistics.totals()

    assert [(b.size, b.count, b.ns) for b in totals.batches] == [
        (1, 1, (10, 100, 1000)),
        (4, 2, (2, 4, 6)),
    ]
    assert (totals.inference_count, totals.execution_count) == (9, 3)
    assert totals.last_inference_ms > 1_700_000_000_000


def test_a_pod_that_did_nothing_has_zeros():
    """And no batch sizes at all."""
    totals = Statistics(Statistics.create(LAYOUT), LAYOUT).totals()

    assert (totals.execution_count, totals.last_inference_ms, totals.batches) == (0, 0, ())


def test_another_process_counts_into_the_same_memory():
    """The descriptor is all it needs."""
    fd = Statistics.create(LAYOUT)
    script = (
        "import sys; from predictor.statistics import *; "
        "Statistics(int(sys.argv[1]), StatisticsLayout(2, 2, 4)).batches(1).count(2, 1, 1, 1)"
    )
    subprocess.run([sys.executable, "-c", script, str(fd)], pass_fds=[fd], check=True)

    assert Statistics(fd, LAYOUT).totals().inference_count == 2
    os.close(fd)
