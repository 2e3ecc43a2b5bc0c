"""The batching policy, with a clock of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from predictor.batching import BatchPolicy, BatchQueue, Queued

NEVER = 2**62


def queue_of(
    *items: str, size: int = 4, delay_us: int = 0, preferred: tuple[int, ...] = ()
) -> BatchQueue[str]:
    """A queue in which ``items`` arrived one nanosecond apart."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(size, delay_us, preferred))
    for now, item in enumerate(items):
        queue.put(Queued(item, now, NEVER, NEVER))
    return queue


def names(taken: list[Queued[str]]) -> list[str]:
    """What was taken."""
    return [queued.item for queued in taken]


def test_a_free_device_takes_what_waits():
    """Fewer images than a full batch go at once."""
    queue = queue_of("a", "b")

    assert names(queue.take(10).batch) == ["a", "b"]
    assert len(queue) == 0


def test_a_batch_is_never_larger_than_its_maximum():
    """The rest stays, in order."""
    queue = queue_of(*"abcdef", size=4)

    assert list("abcd") == names(queue.take(10).batch)
    assert list("ef") == names(queue.take(10).batch)


def test_room_left_in_a_batch_is_filled_and_no_more():
    """A batch that is being gathered is topped up by just what fits."""
    queue = queue_of(*"abc")

    assert names(queue.take(10, room=1).batch) == ["a"]


def test_priority_goes_first_and_arrival_decides_among_equals():
    """Level 1 beats 2; within one level it is first come, first served."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(4, priority_levels=2, priority_step_us=1))
    for now, (item, level) in enumerate([("late", 2), ("a", 1), ("later", 2), ("b", 1)]):
        queue.put(Queued(item, now, NEVER, NEVER, level))

    assert names(queue.take(10).batch) == ["a", "b", "late", "later"]


def test_an_expired_image_takes_no_room():
    """It comes back apart, and the image behind it gets its place."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(1))
    queue.put(Queued("late", 0, due_ns=5, deadline_ns=5))
    queue.put(Queued("in time", 1, due_ns=NEVER, deadline_ns=NEVER))

    taken = queue.take(now_ns=5)

    assert names(taken.batch) == ["in time"]
    assert names(taken.expired) == ["late"]


def test_without_a_delay_a_batch_is_due_at_once():
    """Work-conserving is the default."""
    assert queue_of(delay_us=0).due_ns(gathered=1, oldest_ns=100) == 100


def test_a_delay_counts_from_the_oldest_image():
    """1 µs of delay is 1,000 ns after the first image was queued."""
    assert queue_of(delay_us=1).due_ns(gathered=1, oldest_ns=100) == 1100


def test_a_full_batch_waits_for_nothing():
    """The delay is for batches with room only."""
    assert queue_of(size=4, delay_us=1).due_ns(gathered=4, oldest_ns=100) == 100


def test_a_batch_of_a_preferred_size_waits_for_nothing():
    """The delay is for the sizes in between."""
    queue = queue_of(size=8, delay_us=1, preferred=(2, 4))

    assert [queue.due_ns(gathered, 100) for gathered in (1, 2, 3, 4)] == [1100, 100, 1100, 100]


def test_a_lower_level_waits_a_step_longer_and_no_more():
    """What came a step before the higher level goes before it: nobody starves."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(9, priority_levels=3, priority_step_us=1))
    for item, at_ns, level in (
        ("high", 2000, 1),
        ("low, a step before", 1000, 2),
        ("low", 1001, 2),
        ("lowest, two steps before", 0, 3),
    ):
        queue.put(Queued(item, at_ns, NEVER, NEVER, level))

    assert names(queue.take(3000).batch) == [
        "high",
        "low, a step before",
        "lowest, two steps before",
        "low",
    ]


def test_an_image_past_its_time_in_the_queue_goes_on_behind_the_others():
    """As if it had just come with the lowest priority; once, and never past its deadline."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(1, priority_levels=2, priority_step_us=1))
    queue.put(Queued("delayed", 0, due_ns=50, deadline_ns=90_000, level=1))
    queue.put(Queued("other", 40, due_ns=NEVER, deadline_ns=NEVER, level=2))
    queue.put(Queued("fresh", 1000, due_ns=NEVER, deadline_ns=NEVER, level=1))
    queue.put(Queued("much later", 5000, due_ns=NEVER, deadline_ns=NEVER, level=1))

    order = [names(queue.take(60 + n).batch)[0] for n in range(4)]

    assert order == ["fresh", "other", "delayed", "much later"]


def test_a_delayed_image_is_dropped_when_its_deadline_passes():
    """It is not waited for for ever."""
    queue: BatchQueue[str] = BatchQueue(BatchPolicy(1, priority_levels=2, priority_step_us=1))
    queue.put(Queued("delayed", 0, due_ns=50, deadline_ns=90))
    queue.put(Queued("other", 0, due_ns=NEVER, deadline_ns=NEVER))
    queue.take(60)

    assert names(queue.take(90).expired) == ["delayed"]


def test_a_queue_that_was_limited_forms_smaller_batches():
    """Until the limit is another one."""
    queue = queue_of(*"abcdef", size=4)
    queue.limit(2)
    assert names(queue.take(10).batch) == ["a", "b"]
    queue.limit(3)
    assert names(queue.take(10).batch) == ["c", "d", "e"]


IMAGES = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 50), st.integers(0, 80), st.integers(0, 80)),
    max_size=60,
)


@given(IMAGES, st.integers(1, 8), st.integers(0, 50), st.integers(0, 1))
def test_every_image_leaves_exactly_once(images, size, now, step_us):
    """Whatever arrives, batches are within bounds, nothing expired is computed, nothing is lost."""
    queue: BatchQueue[int] = BatchQueue(
        BatchPolicy(size, priority_levels=3, priority_step_us=step_us)
    )
    for number, (level, accepted, due, deadline) in enumerate(images):
        queue.put(Queued(number, accepted, min(due, deadline), deadline, level))

    left: list[int] = []
    while len(queue):
        taken = queue.take(now)
        assert len(taken.batch) <= size
        assert all(queued.deadline_ns > now for queued in taken.batch)
        assert all(queued.deadline_ns <= now for queued in taken.expired)
        left += [queued.item for queued in (*taken.batch, *taken.expired)]

    assert list(range(len(images))) == sorted(left)


@given(IMAGES, st.integers(1, 8))
def test_within_a_level_the_order_is_that_of_acceptance(images, size):
    """Over all frontends, whichever message came first."""
    queue: BatchQueue[tuple[int, int]] = BatchQueue(
        BatchPolicy(size, priority_levels=3, priority_step_us=1)
    )
    for level, accepted, _, _ in images:
        queue.put(Queued((level, accepted), accepted, NEVER, NEVER, level))

    left: list[tuple[int, int]] = []
    while len(queue):
        left += [queued.item for queued in queue.take(100).batch]

    for level in (1, 2, 3):
        times = [accepted for of, accepted in left if of == level]
        assert times == sorted(times)
