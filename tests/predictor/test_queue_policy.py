"""Priority levels and how long their requests may wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.queue_policy import QueuePolicies, QueuePolicy, order_key

LONGEST_US = 30_000_000
NOW = 1_000_000_000


def rules(**policy: object) -> QueuePolicies:
    """Three levels; the second has this policy."""
    return QueuePolicies(3, 0, 1000, {2: QueuePolicy(**policy)}, LONGEST_US, 256)


def left_us(rules: QueuePolicies, timeout_us: int | None = None, limit_us: int | None = None):
    """Microseconds until it is due, and until its deadline."""
    place = rules.place(NOW, 2, timeout_us, limit_us)
    return (place.due_ns - NOW) // 1000, (place.deadline_ns - NOW) // 1000


@pytest.mark.parametrize(("priority", "level"), [(0, 2), (1, 1), (3, 3), (4, 2), (2**70, 2)])
def test_a_priority_that_is_none_stands_for_the_default(priority, level):
    """As in Triton: 0, or more than there are."""
    assert rules().level(priority) == level


def test_a_request_that_says_nothing_has_the_servers_time():
    """Both in the queue and altogether."""
    assert left_us(rules()) == (LONGEST_US, LONGEST_US)


def test_a_request_may_ask_for_less_time_and_not_for_more():
    """Override only downwards."""
    assert left_us(rules(default_timeout_us=5000), timeout_us=3000) == (3000, 3000)
    assert left_us(rules(default_timeout_us=5000), timeout_us=9000) == (5000, 5000)
    assert left_us(rules(), timeout_us=10**12) == (LONGEST_US, LONGEST_US)


def test_where_overriding_is_not_allowed_the_parameter_is_ignored():
    """But nobody is waited for who has gone."""
    fixed = rules(default_timeout_us=5000, allow_timeout_override=False)

    assert left_us(fixed, timeout_us=3000) == (5000, 5000)
    assert left_us(fixed, timeout_us=3000, limit_us=2000) == (2000, 2000)


def test_a_delayed_level_goes_on_until_the_client_has_gone():
    """Its time in the queue is not its deadline."""
    patient = rules(default_timeout_us=5000, timeout_action="delay")

    assert left_us(patient) == (5000, LONGEST_US)
    assert left_us(patient, limit_us=9000) == (5000, 9000)
    assert left_us(patient, timeout_us=100, limit_us=9000) == (100, 9000)


@given(
    st.integers(0, 10**12),
    st.integers(0, 10**12),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(0, 10**6),
)
def test_nobody_is_overtaken_for_longer_than_the_steps_between(early, late, low, high, step_us):
    """An image that came more than that later, of any level, stays behind."""
    if late - early > (low - high) * step_us * 1000:
        assert order_key(early, low, step_us) < order_key(late, high, step_us)
