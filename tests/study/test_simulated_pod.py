"""One simulated pod: nobody is forgotten, and what can be calculated comes out."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.types import BatchCost
from study.clients import Stretch
from study.clock import COMES, Clock
from study.cluster import closed_loop, open_loop
from study.gateway import Cluster
from study.pod import Pod
from study.request import DONE, EXPIRED, LOST, REFUSED, Request
from study.simulated_pod import SimulatedPod

MANY = settings(max_examples=60, deadline=None)
S = 10**9

COSTS = st.builds(
    BatchCost,
    per_batch_s=st.sampled_from([0.0, 0.001, 0.02]),
    per_image_s=st.sampled_from([0.0005, 0.01]),
    max_batch_size=st.integers(1, 9),
)
PODS = st.builds(
    Pod,
    costs=st.lists(COSTS, min_size=1, max_size=3).map(tuple),
    timeout_us=st.sampled_from([5_000, 50_000, 10**9]),
    admits=st.booleans(),
    frontends=st.integers(1, 3),
    slots=st.sampled_from([1, 4, 30, 1000]),
    decode_threads=st.integers(0, 3),
    loop_ns=st.sampled_from([0, 50_000]),
    handling_ns=st.sampled_from([0, 1_000_000]),
    message_ns=st.sampled_from([0, 100_000]),
)
REQUESTS = st.lists(
    st.tuples(
        st.integers(0, 60_000_000), st.integers(1, 6), st.integers(0, 2), st.integers(0, 8_000_000)
    ),
    max_size=40,
)


def play(pod, asked, lost_ns=None):
    """Send requests (when, images, frontend, ns to decode); the answers in their order."""
    clock, answers = Clock(), []
    simulated = SimulatedPod(clock, pod, answers.append)
    requests = [
        Request(number, images, frontend % pod.frontends, decode_ns=decode_ns, sent_ns=at_ns)
        for number, (at_ns, images, frontend, decode_ns) in enumerate(asked)
    ]
    for request in requests:
        clock.at(request.sent_ns, COMES, simulated.send, request)
    if lost_ns is not None:
        clock.at(lost_ns, COMES, lambda _: simulated.lose(), None)
    clock.run()
    return requests, answers, simulated


@MANY
@given(PODS, REQUESTS)
def test_every_request_is_answered_once(pod, asked):
    """Computed, expired or refused, with event loops, threads and slots of any number."""
    requests, answers, simulated = play(pod, asked)

    assert sorted(answer.number for answer in answers) == [request.number for request in requests]
    assert {answer.outcome for answer in answers} <= {DONE, EXPIRED, REFUSED}
    assert all(frontend.slots == pod.slots for frontend in simulated.frontends)


@MANY
@given(PODS, REQUESTS, st.integers(0, 80_000_000))
def test_a_pod_that_is_lost_takes_along_what_it_had_accepted_and_no_more(pod, asked, lost_ns):
    """What was answered before stays answered; whoever comes later is told at once."""
    requests, answers, _ = play(pod, asked, lost_ns)

    assert sorted(answer.number for answer in answers) == [request.number for request in requests]
    untouched, _, _ = play(pod, asked)
    for request, otherwise in zip(requests, untouched, strict=True):
        if request.sent_ns > lost_ns:
            assert request.outcome == LOST
        elif request.outcome != LOST:
            assert request.outcome == otherwise.outcome


@MANY
@given(PODS, REQUESTS)
def test_the_same_requests_have_the_same_fate(pod, asked):
    """No chance and no clock of its own."""

    def fates():
        return [(each.outcome, each.began_ns, each.ended_ns) for each in play(pod, asked)[0]]

    assert fates() == fates()


def test_no_more_is_accepted_than_there_are_slots():
    """The rest is refused at once."""
    pod = Pod((BatchCost(0.01, 0.001, 4),), slots=10)

    requests, _, _ = play(pod, [(0, 4, 0, 0)] * 3)

    assert [request.outcome for request in requests] == [DONE, DONE, REFUSED]


def rate_of(pod, clients, images=1, decode_ns=0):
    """Images a second of a pod that is kept busy."""
    cluster = Cluster((pod,), images=images, decode_ns=decode_ns)
    return closed_loop(cluster, clients, 10.0, 1.0).computed_per_second


def test_a_device_that_is_kept_busy_gives_what_its_full_batches_give():
    """That is n / (a + b·n), and with handling n / (a + b·n + handling)."""
    cost = BatchCost(0.02, 0.0005, 64)

    assert rate_of(Pod((cost,)), 16, 16) == pytest.approx(64 / 0.052, rel=0.002)
    handled = Pod((cost,), handling_ns=2_000_000)
    assert rate_of(handled, 16, 16) == pytest.approx(64 / 0.054, rel=0.002)


def test_several_devices_give_the_sum_of_what_each_gives():
    """Unlike ones as well, for dispatch knows what they cost."""
    fast, slow = BatchCost(0.005, 0.0005, 32), BatchCost(0.02, 0.002, 16)

    both = rate_of(Pod((fast, slow)), 200)

    assert both == pytest.approx(32 / 0.021 + 16 / 0.052, rel=0.03)


def test_too_few_decode_threads_are_the_limit():
    """Threads ÷ seconds for an image."""
    pod = Pod((BatchCost(0.001, 0.0001, 64),), decode_threads=3)

    assert rate_of(pod, 64, decode_ns=5_000_000) == pytest.approx(3 / 0.005, rel=0.01)


def test_an_event_loop_that_has_no_more_time_is_the_limit():
    """Frontends ÷ seconds for an image."""
    pod = Pod((BatchCost(0.001, 0.0, 64),) * 4, frontends=2, loop_ns=1_000_000)

    assert rate_of(pod, 64, 4) == pytest.approx(2 / 0.001, rel=0.01)


@pytest.mark.parametrize("load", [0.3, 0.7])
def test_one_image_at_a_time_waits_as_queueing_theory_says(load):
    """M/D/1: mean wait = service · load / (2 · (1 - load)), by Pollaczek and Khinchine."""
    service_s = 0.01
    cluster = Cluster((Pod((BatchCost(0.0, service_s, 1),)),))

    outcome = open_loop(cluster, [Stretch(2000.0, load / service_s)], seed=3, warm_up_s=10.0)

    waits = [latency - service_s for latency in outcome.latencies_s]
    expected = service_s * load / (2 * (1 - load))
    assert sum(waits) / len(waits) == pytest.approx(expected, rel=0.04)


def test_a_lightly_loaded_image_takes_its_stages_and_nothing_else():
    """Event loop, decode, two messages, its batch of one, and the way there and back."""
    pod = Pod(
        (BatchCost(0.02, 0.001, 8),),
        decode_threads=1,
        loop_ns=400_000,
        handling_ns=1_000_000,
        message_ns=100_000,
    )
    cluster = Cluster((pod,), network_ns=600_000, decode_ns=3_000_000)

    outcome = open_loop(cluster, [Stretch(60.0, 0.5)], seed=1)

    expected = 0.0004 + 0.003 + 2 * 0.0001 + 0.021 + 0.0006
    assert outcome.percentile_s(50) == pytest.approx(expected, rel=1e-6)


def test_a_pod_that_admits_by_prediction_computes_next_to_nothing_in_vain():
    """At three times what it can do, what is accepted is answered in time."""
    pod = Pod((BatchCost(0.005, 0.001, 16),), admits=True, timeout_us=100_000)

    outcome = open_loop(Cluster((pod,)), [Stretch(20.0, 3 * 16 / 0.021)], seed=1, warm_up_s=1.0)

    assert outcome.requests[EXPIRED] == 0
    assert outcome.images_per_second == pytest.approx(16 / 0.021, rel=0.02)
    assert S * outcome.latencies_s[-1] <= pod.timeout_us * 1000
