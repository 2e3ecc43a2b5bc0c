"""Counts that all processes of a pod share."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from hypothesis import given
from hypothesis import strategies as st

from predictor.counts import (
    FIRST_POWER,
    LAST_POWER,
    LATENCY_CELLS,
    StatisticsLayout,
    Work,
    execution_count,
    inference_count,
    latency_cell,
    latency_end_ns,
)
from predictor.observation import ImageTimes, Observation
from predictor.statistics import REFUSAL_NS, Statistics

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

    totals = statistics.read().requests

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

    totals = statistics.read().requests

    assert (totals["success"].count, totals["fail"].count, totals["queue"].count) == (0, 2, 0)


def test_what_refusing_takes_is_counted_from_when_the_request_was_read():
    """It came slowly; one that waited for its deadline was no work for so long."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    times = {"began_ns": 7, "read_ns": 5_000_000_000, "ended_ns": 5_000_100_000}
    statistics.requests(0).count(Observation("v2", "POST /", "id", error="full", **times))
    statistics.requests(0).count(Observation("v2", "POST /", "id", error="late", ended_ns=10**9))

    broken = Observation("v2", "POST /", "id", error="image 0: broken", classified_ns=5, **times)
    statistics.requests(0).count(broken)  # it has waited for a decoder

    assert statistics.read().work == Work(refused_ns=100_000 + REFUSAL_NS)


def test_batches_are_counted_by_size_over_all_instances():
    """Images are batches times their sizes."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.batches(0).count(1, 10, 100, 1000)
    statistics.batches(0).count(4, 1, 2, 3)
    statistics.batches(1).count(4, 1, 2, 3)

    totals = statistics.read()

    assert [(b.size, b.count, b.ns) for b in totals.batches] == [
        (1, 1, (10, 100, 1000)),
        (4, 2, (2, 4, 6)),
    ]
    assert (inference_count(totals.batches), execution_count(totals.batches)) == (9, 3)
    assert totals.last_inference_ms > 1_700_000_000_000


def test_a_pod_that_did_nothing_has_zeros():
    """And no batch sizes at all."""
    totals = Statistics(Statistics.create(LAYOUT), LAYOUT).read()

    assert (totals.last_inference_ms, totals.batches) == (0, ())


def test_another_process_counts_into_the_same_memory():
    """The descriptor is all it needs."""
    fd = Statistics.create(LAYOUT)
    script = (
        "import sys; from predictor.statistics import *; from predictor.counts import *; "
        "Statistics(int(sys.argv[1]), StatisticsLayout(2, 2, 4)).batches(1).count(2, 1, 1, 1)"
    )
    subprocess.run([sys.executable, "-c", script, str(fd)], pass_fds=[fd], check=True)

    assert inference_count(Statistics(fd, LAYOUT).read().batches) == 2
    os.close(fd)


def test_work_is_counted_by_each_frontend_and_added_up():
    """Whoever succeeds a process that was killed goes on where it ended."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.requests(0).worked(Work(loop_ns=3, pool_images=2))
    statistics.requests(1).worked(Work(loop_ns=4, connections_ns=5))
    statistics.requests(1).worked(Work(loop_ns=1))

    assert statistics.read().work == Work(loop_ns=8, pool_images=2, connections_ns=5)


def test_images_of_answered_requests_are_counted_with_what_they_took():
    """Making the answer, not waiting for the client, and holding slots away from an instance."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    request = answered(images=3, answered=3, classified_ns=140, rendered_ns=170)
    statistics.requests(0).count(request)

    assert statistics.read().work == Work(images=3, respond_ns=30, held_ns=3 * (2 + 16))


def test_images_count_that_were_answered_beside_a_broken_one():
    """As v1 does it: the request counts as failed, and the work was done all the same."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    row = statistics.requests(0)
    row.count(answered(images=5, answered=4, error="image 1: broken", classified_ns=200))

    assert statistics.read().work == Work(images=4, held_ns=4 * (2 + 16))
    assert (row.images, row.failed) == (4, 1)


def test_it_is_known_when_counting_began():
    """A frontend that begins later reckons with it."""
    before = time.monotonic_ns()
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)

    assert before <= statistics.read().began_ns <= time.monotonic_ns()


def test_an_instance_says_how_large_batches_may_be():
    """Until it does, nothing is known."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.batches(1).limit(3)

    assert [statistics.read().batch_limit(instance) for instance in (0, 1)] == [0, 3]


def test_an_answer_that_never_waits_for_its_client_is_made_until_the_end():
    """As over gRPC, which sends it on its own."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.requests(0).count(answered(images=1, answered=1, classified_ns=140))

    assert statistics.read().work.respond_ns == 60


@given(st.integers(0, 2**63 - 1))
def test_a_latency_is_at_most_an_eighth_less_than_its_bucket_says(ns):
    """Between 33 µs and four and a half minutes."""
    cell = latency_cell(ns)

    assert 0 <= cell < LATENCY_CELLS
    if 2**FIRST_POWER <= ns < 2**LAST_POWER:
        assert ns < latency_end_ns(cell) <= ns * 9 / 8 + 1


def test_latencies_are_told_by_share():
    """Ninety-nine quick ones and a slow one."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    for took_ms in [10] * 99 + [500]:
        request = answered(images=1)
        request.ended_ns = request.began_ns + took_ms * 1_000_000
        statistics.requests(took_ms % 2).count(request)

    read = statistics.read()
    assert 0.010 <= read.latency_s(0.5) <= 0.01125
    assert 0.010 <= read.latency_s(0.99) <= 0.01125
    assert 0.5 <= read.latency_s(1.0) <= 0.5625


def test_without_requests_there_is_no_latency():
    """Zero would be a lie."""
    assert Statistics(Statistics.create(LAYOUT), LAYOUT).read().latency_s(0.5) is None


def test_an_instance_counts_its_processor_time_from_its_first_batch_on():
    """Loading and warming up are no work on images."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    batches = statistics.batches(1)
    batches.worked(9_000, 50)
    batches.worked(9_400, 80)
    batches.worked(9_500, 90)

    assert statistics.read().cpu_ns(1) == (500, 40)
    assert statistics.read().cpu_ns(0) == (0, 0)


def test_counts_between_two_moments_leave_out_what_was_before():
    """A window is a difference."""
    statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
    statistics.batches(0).count(2, 1, 10, 1)
    before = statistics.read()
    statistics.batches(0).count(2, 1, 30, 1)
    statistics.batches(1).count(1, 1, 5, 1)

    lately = statistics.read().since(before)
    assert [(b.size, b.count) for b in lately.batches] == [(1, 1), (2, 1)]
    assert [(b.size, b.count) for b in lately.batches_of(0)] == [(2, 1)]
    assert lately.busy_ns() == [30, 5]
