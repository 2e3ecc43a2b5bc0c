"""How a place in the pod counts its losses."""

from __future__ import annotations

from predictor.child import Child


def test_a_child_that_keeps_dying_is_waited_for_longer_each_time():
    """At once, then half a second, up to half a minute."""
    child = Child("instance", 0)

    waits = [child.backoff_s(1.0, longest_s=30.0) for _ in range(9)]

    assert waits == [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 30.0, 30.0]


def test_a_child_that_lived_long_starts_over():
    """One crash an hour is no crash loop."""
    child = Child("instance", 0)
    for _ in range(5):
        child.backoff_s(1.0, longest_s=30.0)

    assert [child.backoff_s(3600.0, longest_s=30.0), child.backoff_s(1.0, longest_s=30.0)] == [
        0.0,
        0.0,
    ]


def test_the_longest_wait_can_be_set():
    """For those who would rather have it tried again soon."""
    child = Child("instance", 0)

    waits = [child.backoff_s(1.0, longest_s=0.7) for _ in range(5)]

    assert waits == [0.0, 0.5, 0.7, 0.7, 0.7]
