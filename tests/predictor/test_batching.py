"""The batching policy, with a clock of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from predictor.batching import BatchQueue, Queued

NEVER = 2**62


def queue_of(*items: str, size: int = 4, delay_us: int = 0) -> BatchQueue[str]:
    """A queue in which ``items`` arrived one nanosecond apart."""
    queue: BatchQueue[str] = BatchQueue(size, delay_us)
    for now, item in enumerate(items):
        queue.put(Queued(item, now, NEVER))
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
    """Priority 0 beats 1; within one priority it is first come, first served."""
    queue: BatchQueue[str] = BatchQueue(4)
    for now, (item, priority) in enumerate([("late", 1), ("a", 0), ("later", 1), ("b", 0)]):
        queue.put(Queued(item, now, NEVER, priority))

    assert names(queue.take(10).batch) == ["a", "b", "late", "later"]


def test_an_expired_image_takes_no_room():
    """It comes back apart, and the image behind it gets its place."""
    queue: BatchQueue[str] = BatchQueue(1)
    queue.put(Queued("late", 0, deadline_ns=5))
    queue.put(Queued("in time", 1, deadline_ns=NEVER))

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


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=60),
    st.integers(1, 8),
    st.integers(0, 50),
)
def test_every_image_leaves_exactly_once(images, size, now):
    """Whatever arrives, batches are within bounds, nothing expired is computed, nothing is lost."""
    queue: BatchQueue[int] = BatchQueue(size)
    for number, (priority, deadline) in enumerate(images):
        queue.put(Queued(number, 0, deadline, priority))

    left: list[int] = []
    while len(queue):
        taken = queue.take(now)
        assert len(taken.batch) <= size
        assert all(queued.deadline_ns > now for queued in taken.batch)
        assert all(queued.deadline_ns <= now for queued in taken.expired)
        left += [queued.item for queued in (*taken.batch, *taken.expired)]

    assert list(range(len(images))) == sorted(left)
