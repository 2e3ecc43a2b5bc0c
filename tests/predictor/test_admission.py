"""Predictions: what makes them larger, what bounds them, and who is refused by them."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from predictor.admission import (
    LONGEST_RETRY_S,
    PLANNED,
    SCALE,
    CostScale,
    DecodeBacklog,
    DecodeCost,
    EarliestFinish,
    decoding_s,
    finish_s,
    retry_after_s,
    shrink_factor,
)
from predictor.header import Header
from predictor.types import BatchCost

COSTS = st.builds(
    BatchCost,
    per_batch_s=st.floats(0, 1),
    per_image_s=st.floats(1e-6, 1),
    max_batch_size=st.integers(1, 64),
)
SECONDS = st.floats(0, 100)
INSTANCES = st.lists(
    st.tuples(COSTS, st.integers(0, 500), st.floats(*SCALE)), min_size=1, max_size=4
)


def finish(instances, wait_s: float = 0.0, decode_s: float = 0.0, images: int = 1) -> float:
    """``finish_s`` of (cost, outstanding, scale) of each instance."""
    costs, loads, scales = zip(*instances, strict=True)
    return finish_s(wait_s, decode_s, loads, costs, scales, images)


@given(INSTANCES, SECONDS, SECONDS, st.integers(1, 50), st.data())
def test_more_to_do_never_means_to_be_done_sooner(instances, wait_s, decode_s, images, data):
    """Whatever there is more of: images outstanding, images asked for, decoding, slowness."""
    before = finish(instances, wait_s, decode_s, images)
    busier = [
        (cost, load + data.draw(st.integers(0, 100)), scale) for cost, load, scale in instances
    ]
    slower = [(cost, load, scale * 1.5) for cost, load, scale in instances]

    assert finish(busier, wait_s, decode_s, images) >= before
    assert finish(slower, wait_s, decode_s, images) >= before
    assert finish(instances, wait_s + 1, decode_s, images) >= before
    assert finish(instances, wait_s, decode_s + 1, images) >= before
    assert finish(instances, wait_s, decode_s, images + 1) >= before
    assert finish(instances[:1], wait_s, decode_s, images) >= before


@given(INSTANCES, SECONDS, SECONDS)
def test_an_answer_takes_its_decoding_and_its_batch_at_least(instances, wait_s, decode_s):
    """And what is outstanding there, whichever of the two is longer."""
    found = finish(instances, wait_s, decode_s)

    assert found >= wait_s + decode_s
    assert found >= min(cost.seconds(load + 1) * scale for cost, load, scale in instances)


def test_decoding_goes_on_while_batches_run():
    """The two are not added up, unless there is nothing to run meanwhile."""
    cost = BatchCost(0.0, 1.0, 1)

    assert finish([(cost, 10, 1.0)], decode_s=3.0) == 11.0
    assert finish([(cost, 0, 1.0)], decode_s=3.0) == 4.0


@given(INSTANCES)
def test_who_finishes_first_is_who_dispatch_chooses(instances):
    """What is predicted for an image is what its instance will take."""
    costs, loads, scales = zip(*instances, strict=True)

    chosen = EarliestFinish(loads, costs, scales).take()

    assert finish(instances) == costs[chosen].seconds(loads[chosen] + 1) * scales[chosen]


@given(INSTANCES)
def test_among_equals_the_one_with_the_least_to_do_is_chosen(instances):
    """Then the first; never by chance."""
    costs, loads, _ = zip(*[instances[0]] * 3, strict=True)
    more = (loads[0] + 1, loads[0], loads[0])
    free = BatchCost(0.0, 0.0, 8)

    assert EarliestFinish(loads, costs, [1.0] * 3).take() == 0
    assert EarliestFinish(more, [free] * 3, [1.0] * 3).take() == 1


@given(SECONDS, SECONDS)
def test_who_has_time_is_taken_and_who_has_not_is_told_when_to_come_back(needs_s, left_s):
    """A whole number of seconds, 1 to a minute; after it, if nothing changes, there is the time."""
    wait = retry_after_s(needs_s, left_s)

    assert (wait is None) == (needs_s <= PLANNED * left_s)
    if wait is not None:
        assert isinstance(wait, int)
        assert 1 <= wait <= LONGEST_RETRY_S
        assert wait == LONGEST_RETRY_S or needs_s - wait <= left_s


@given(SECONDS, SECONDS, SECONDS)
def test_more_time_never_has_a_request_refused(needs_s, left_s, more_s):
    """Nor makes it wait longer before it tries again."""
    before, after = retry_after_s(needs_s, left_s), retry_after_s(needs_s, left_s + more_s)

    assert before is not None or after is None
    assert (after or 0) <= (before or 0)


def test_no_time_at_all_is_refused():
    """A deadline that has passed already."""
    assert retry_after_s(0.001, 0.0) == 1
    assert retry_after_s(0.001, -5.0) == 6


MEASURED = st.lists(st.tuples(st.floats(1e-6, 10), st.floats(0, 1e4)), max_size=60)


@given(MEASURED)
def test_a_scale_stays_within_its_bounds(measured):
    """Whatever is measured."""
    scale = CostScale(0.25, 8.0)
    for said_s, took_s in measured:
        scale.learn(said_s, took_s)

        assert 0.25 <= scale.scale <= 8.0


@given(st.floats(0.3, 7.0), st.floats(1e-4, 1.0))
def test_what_always_takes_so_many_times_longer_is_learnt(times, said_s):
    """To within a hundredth."""
    scale = CostScale()
    for _ in range(200):
        scale.learn(said_s, times * said_s)

    assert scale.scale == pytest.approx(times, rel=0.01)


@given(st.floats(1e-4, 1.0), st.floats(0, 1e6))
def test_one_standstill_is_not_taken_for_how_things_are(said_s, standstill_s):
    """However long it was, and also if it is the very first measurement."""
    first, later = CostScale(), CostScale()
    first.learn(said_s, standstill_s)
    for _ in range(50):
        later.learn(said_s, said_s)
    later.learn(said_s, standstill_s)

    assert first.scale <= 1.5
    assert later.scale <= 1.5


def test_what_takes_long_counts_for_more_than_what_takes_no_time():
    """The ratio of the means, not the mean of the ratios."""
    scale = CostScale()
    for _ in range(200):
        scale.learn(1.0, 2.0)
        scale.learn(0.001, 0.008)

    assert scale.scale == pytest.approx(2.0, rel=0.05)


KINDS = st.sampled_from(["jpeg", "progressive", "png", "webp"])
SIDES = st.integers(0, 20_000)


@given(KINDS, SIDES, SIDES, st.integers(1, 512))
def test_what_is_not_known_costs_nothing(kind, width, height, least):
    """Nobody is refused by a guess; nor does an unreadable header cost anything."""
    cost = DecodeCost(least, scaled=True)

    assert cost.predict(None) == 0.0
    assert cost.predict(Header(kind, width, height)) == 0.0


@given(KINDS, SIDES, SIDES, st.booleans(), st.floats(0, 10))
def test_an_image_like_the_last_one_takes_as_long(kind, width, height, scaled, seconds):
    """And one of twice the pixels, decoded at the same fraction, no less."""
    cost = DecodeCost(224, scaled=scaled)
    header = Header(kind, width, height)
    for _ in range(3):
        cost.learn(header, seconds)

    assert cost.predict(header) == pytest.approx(seconds)
    wider = Header(kind, 2 * width, height)
    assume(shrink_factor(2 * width, height, 224) == shrink_factor(width, height, 224))
    assert cost.predict(wider) >= cost.predict(header) * (1 - 1e-9)


@given(SIDES, SIDES, st.integers(1, 600))
def test_a_jpeg_is_decoded_at_a_fraction_that_keeps_its_sides(width, height, least):
    """At the smallest one of 1, 1/2, 1/4, 1/8 that does."""
    factor = shrink_factor(width, height, least)

    assert factor in (1, 2, 4, 8)
    assert factor == 1 or min(width, height) // factor >= least
    assert factor == 8 or min(width, height) // (2 * factor) < least


@given(st.lists(st.floats(0, 10), max_size=50), st.integers(1, 8))
def test_a_backlog_is_what_was_added_and_not_removed(seconds, threads):
    """Shared by the threads; empty again at the end, and never less than that."""
    backlog = DecodeBacklog()
    for each in seconds:
        backlog.add(each)
    assert backlog.wait_s(threads) == pytest.approx(sum(seconds) / threads)

    for each in seconds[::-1]:
        backlog.remove(each)
        assert backlog.wait_s(threads) >= 0
    assert backlog.wait_s(threads) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 50), COSTS), min_size=1, max_size=6), st.integers(1, 100))
def test_images_handed_out_at_once_go_where_they_would_one_by_one(instances, images):
    """What each has taken before counts as outstanding there."""
    loads, costs = (list(column) for column in zip(*instances, strict=True))
    scales = [1.0] * len(costs)
    at_once = EarliestFinish(loads, costs, scales)
    for _ in range(images):
        chosen = EarliestFinish(loads, costs, scales).take()
        assert at_once.take() == chosen
        loads[chosen] += 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 8))
def test_images_of_a_request_are_decoded_by_all_threads_at_once(seconds, threads):
    """But no image by several, and none takes less than its own time."""
    took = decoding_s(seconds, threads)

    assert max(seconds) <= took <= sum(seconds)
    assert took >= sum(seconds) / threads
    assert decoding_s(seconds, 1) == pytest.approx(sum(seconds))
