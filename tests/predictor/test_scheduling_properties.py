"""Who is computed when, by the real rules on a clock that jumps: what must hold for any traffic."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.admission import PLANNED
from predictor.queue_policy import QueuePolicy
from predictor.types import BatchCost
from study.pod import US, Pod
from study.request import DONE, EXPIRED, REFUSED
from study.trace import Arrival, simulate

MANY = settings(max_examples=100, deadline=None)

COSTS = st.builds(
    BatchCost,
    per_batch_s=st.sampled_from([0.0, 0.001, 0.005, 0.02]),
    per_image_s=st.sampled_from([0.0005, 0.001, 0.01]),
    max_batch_size=st.integers(1, 9),
)
DEVICES = st.lists(COSTS, min_size=1, max_size=3).map(tuple)
ARRIVALS = st.lists(
    st.builds(
        Arrival,
        at_us=st.integers(0, 60_000),
        frontend=st.integers(0, 2),
        priority=st.integers(0, 4),
        timeout_us=st.none() | st.integers(1, 50_000),
        limit_us=st.none() | st.integers(1, 90_000),
        decode_us=st.just(0) | st.integers(0, 8_000),
    ),
    max_size=60,
)
POLICIES = st.dictionaries(
    st.integers(1, 3),
    st.builds(
        QueuePolicy,
        default_timeout_us=st.integers(0, 30_000),
        timeout_action=st.sampled_from(["reject", "delay"]),
        allow_timeout_override=st.booleans(),
    ),
).map(lambda policies: tuple(policies.items()))
PODS = st.builds(
    Pod,
    costs=DEVICES,
    levels=st.just(3),
    step_us=st.sampled_from([0, 1, 1_000, 20_000]),
    policies=POLICIES,
    timeout_us=st.sampled_from([20_000, 100_000, 10**9]),
    admits=st.booleans(),
)


@MANY
@given(PODS, ARRIVALS)
def test_every_image_has_one_end_and_no_batch_is_over_its_size(pod, arrivals):
    """Computed, expired or refused; nobody is forgotten or computed twice."""
    trace = simulate(pod, arrivals)

    assert all(fate.outcome in (DONE, EXPIRED, REFUSED) for fate in trace.fates)
    computed = [number for number, fate in enumerate(trace.fates) if fate.outcome == DONE]
    assert computed == sorted(trace.done())
    for ran in trace.batches:
        assert 1 <= len(ran.took) <= pod.costs[ran.instance].max_batch_size


@MANY
@given(PODS, ARRIVALS)
def test_no_instance_is_idle_while_an_image_waits_there(pod, arrivals):
    """Each batch begins when its first image came or the one before has ended, not later."""
    trace = simulate(pod, arrivals)

    for instance in range(len(pod.costs)):
        free_ns = 0
        for ran in (ran for ran in trace.batches if ran.instance == instance):
            came_ns = min(trace.fates[number].handed_ns for number in ran.took)
            assert ran.began_ns == max(free_ns, came_ns)
            free_ns = ran.ended_ns


@MANY
@given(PODS, ARRIVALS)
def test_a_batch_is_short_only_where_nobody_else_waits(pod, arrivals):
    """Otherwise it is full."""
    for ran in simulate(pod, arrivals).batches:
        assert not ran.left or len(ran.took) == pod.costs[ran.instance].max_batch_size


@MANY
@given(DEVICES, ARRIVALS, st.integers(1, 5_000))
def test_a_batch_is_held_open_for_its_time_and_no_longer(costs, arrivals, delay_us):
    """Counted from its oldest image; a full one is not held at all."""
    patient = [Arrival(each.at_us, each.frontend, decode_us=each.decode_us) for each in arrivals]
    trace = simulate(Pod(costs, delay_us=delay_us), patient)

    for instance in range(len(costs)):
        free_ns = 0
        for ran in (ran for ran in trace.batches if ran.instance == instance):
            handed = sorted(trace.fates[number].handed_ns for number in ran.took)
            full = len(ran.took) == costs[instance].max_batch_size
            assert ran.began_ns <= max(free_ns, handed[0] + delay_us * US)
            assert full or ran.began_ns >= handed[0] + delay_us * US
            free_ns = ran.ended_ns


@MANY
@given(PODS, ARRIVALS)
def test_nothing_is_computed_after_its_deadline(pod, arrivals):
    """What expires was really late; what was in time is not dropped."""
    trace = simulate(pod, arrivals)

    for fate in trace.fates:
        if fate.outcome == DONE:
            assert fate.began_ns < fate.place.deadline_ns
    ends = [ran.ended_ns for ran in trace.batches]
    for fate in trace.fates:
        if fate.outcome == EXPIRED:
            last = max([fate.handed_ns, *ends])
            assert fate.place.deadline_ns <= last


@MANY
@given(PODS, ARRIVALS)
def test_nobody_waits_behind_more_than_their_order_allows(pod, arrivals):
    """Who is gathered before an image has the lower key; with ``delay``, its key once it was late.

    What was gathered before it came, one batch at most, stays where it is.
    """
    trace = simulate(pod, arrivals)

    for number, fate in enumerate(trace.fates):
        if fate.outcome != DONE:
            continue
        least = fate.place.key
        passed = [gathered for gathered in trace.gathers if number in gathered.left]
        for gathered in passed:
            if delayed_by(trace, number, gathered):
                least = max(least, gathered.at_ns + (pod.levels - 1) * pod.step_us * US)
                break
        for gathered in passed:
            before = [other for other in gathered.took if trace.fates[other].place.key > least]
            assert before == [], (number, fate, gathered)


def delayed_by(trace, number, gathered) -> bool:
    """Whether an image was late, and its turn, when others were gathered and it was not."""
    place = trace.fates[number].place
    late = place.due_ns <= gathered.at_ns < place.deadline_ns
    return late and (
        gathered.room > 0
        or any(trace.fates[other].place.key > place.key for other in gathered.took)
    )


@MANY
@given(DEVICES, st.integers(1, 3), st.integers(1, 2_000), st.integers(0, 200))
def test_a_delayed_image_is_computed_although_others_keep_coming(costs, level, gap_us, step_us):
    """One that is late, beside a stream that is always in time and all the device can do."""
    policies = ((level, QueuePolicy(timeout_action="delay")),)
    pod = Pod(costs[:1], levels=3, step_us=step_us, policies=policies)
    gap_us = max(gap_us, round(costs[0].seconds(1) * 1e6))
    stream = [Arrival(place * gap_us, priority=1) for place in range(200)]
    patient = Arrival(gap_us, priority=level, timeout_us=1)
    arrivals = sorted([*stream, patient], key=lambda arrival: arrival.at_us)

    trace = simulate(pod, arrivals)

    place = arrivals.index(patient)
    began = trace.done()
    # At most those that came before its turn had come, and in the steps it stands back for.
    ahead = sum(arrivals[number].at_us > patient.at_us for number in began[: began.index(place)])
    longest_us = 2 * pod.step_us + 2 * costs[0].seconds(costs[0].max_batch_size) * 1e6
    assert ahead <= longest_us / gap_us + 2 * costs[0].max_batch_size


@MANY
@given(COSTS, ARRIVALS, st.sampled_from([0, 1, 1_000]))
def test_within_a_level_the_order_is_that_of_acceptance(cost, arrivals, step_us):
    """Whichever frontend accepted, as long as nobody overtakes by decoding or is delayed."""
    arrivals = [Arrival(each.at_us, each.frontend, each.priority) for each in arrivals]
    trace = simulate(Pod((cost,), levels=3, step_us=step_us), arrivals)

    for level in (1, 2, 3):
        places = [trace.fates[number].place for number in trace.done()]
        accepted = [place.accepted_ns for place in places if place.level == level]
        assert accepted == sorted(accepted)


@MANY
@given(COSTS, st.integers(1, 2), st.integers(1, 80), st.integers(0, 3_000))
def test_frontends_that_accept_in_turn_are_served_in_turn(cost, instances, count, gap_us):
    """By one device to the image; by two, no further apart than what these run at a time."""
    arrivals = [Arrival(place * gap_us, frontend=place % 2) for place in range(count)]
    trace = simulate(Pod((cost,) * instances), arrivals)

    ahead = 0  # of the first frontend
    for number in trace.done():
        ahead += 1 if arrivals[number].frontend == 0 else -1
        assert abs(ahead) <= (1 if instances == 1 else instances * cost.max_batch_size)


@MANY
@given(COSTS, COSTS, st.integers(1, 80))
def test_a_slow_device_beside_a_fast_one_makes_no_burst_longer(fast, slow, images):
    """All images at once: both together are done when the fast one alone would be, or before."""
    burst = [Arrival(0)] * images
    alone = simulate(Pod((fast,)), burst)
    both = simulate(Pod((fast, slow)), burst)

    assert last_ns(both) <= last_ns(alone) + images  # ns, of rounding


def last_ns(trace) -> int:
    """When all is done."""
    return max(ran.ended_ns for ran in trace.batches)


@MANY
@given(COSTS, COSTS, st.integers(1, 30), st.integers(0, 9_000))
def test_one_image_at_a_time_is_never_given_to_the_slower_device(one, other, images, pause_us):
    """Whichever of the two is the first in the list."""
    gap_us = round(1e6 * max(one.seconds(1), other.seconds(1))) + 1 + pause_us
    trace = simulate(Pod((one, other)), [Arrival(place * gap_us) for place in range(images)])

    used = {fate.instance for fate in trace.fates}
    assert used == {0 if one.seconds(1) <= other.seconds(1) else 1}


@MANY
@given(DEVICES, ARRIVALS)
def test_an_image_is_answered_at_most_a_full_batch_later_than_predicted(costs, arrivals):
    """With one level and nothing to decode: so much may join it, and so much may be under way."""
    trace = simulate(Pod(costs), [Arrival(each.at_us, each.frontend) for each in arrivals])

    for fate in trace.fates:
        cost = costs[fate.instance]
        took_ns = fate.ended_ns - fate.place.accepted_ns
        assert took_ns <= fate.predicted_ns + cost.seconds(cost.max_batch_size) * 1e9 + len(
            arrivals
        )


@MANY
@given(DEVICES, ARRIVALS)
def test_what_is_admitted_with_time_to_spare_is_computed_in_time(costs, arrivals):
    """A full batch's time: what predictions may be wrong by, of what is not planned with."""
    asked = [Arrival(each.at_us, each.frontend, limit_us=each.limit_us) for each in arrivals]
    trace = simulate(Pod(costs, admits=True), asked)

    batch_ns = max(cost.seconds(cost.max_batch_size) for cost in costs) * 1e9
    for fate in trace.fates:
        left_ns = fate.place.deadline_ns - fate.place.accepted_ns
        if fate.outcome == EXPIRED:
            assert batch_ns > (1 - PLANNED) * left_ns - len(arrivals)


@MANY
@given(PODS, ARRIVALS)
def test_the_same_traffic_is_decided_the_same_way(pod, arrivals):
    """No chance, no clock of its own, no order of a hash."""
    assert simulate(pod, arrivals) == simulate(pod, arrivals)
