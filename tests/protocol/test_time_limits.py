"""How long a client says it waits, in a header of its own or of the proxy before it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.errors import BadRequestError
from predictor.protocol.fields import LONGEST_TIMEOUT_US, TIMEOUT_HEADERS, time_limit_us

OURS, ENVOYS = TIMEOUT_HEADERS


def test_the_headers_are_kserves_and_envoys():
    """Lower case, as HTTP/2 and our own parser have them."""
    assert (OURS, ENVOYS) == (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")


@pytest.mark.parametrize("name", TIMEOUT_HEADERS)
def test_milliseconds_become_microseconds(name):
    """Either header alone is enough."""
    assert time_limit_us({name: b"250"}) == 250_000


def test_who_says_nothing_has_no_limit():
    """Other headers are none."""
    assert time_limit_us({}) is None
    assert time_limit_us({b"timeout": b"5", b"x-request-timeout": b"5"}) is None


@pytest.mark.parametrize("name", TIMEOUT_HEADERS)
def test_zero_means_that_there_is_no_limit(name):
    """As Envoy has it; so it is no limit beside another one either."""
    (other,) = set(TIMEOUT_HEADERS) - {name}

    assert time_limit_us({name: b"0"}) is None
    assert time_limit_us({name: b"000"}) is None
    assert time_limit_us({name: b"0", other: b"70"}) == 70_000


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_of_two_limits_the_lesser_one_holds(ours_ms, envoys_ms):
    """Whoever gives up first."""
    both = {OURS: b"%d" % ours_ms, ENVOYS: b"%d" % envoys_ms}

    assert time_limit_us(both) == min(ours_ms * 1000, envoys_ms * 1000, LONGEST_TIMEOUT_US)


@pytest.mark.parametrize("given", [b"3600000", b"3600001", b"999999999999"])
def test_a_limit_beyond_reason_is_an_hour(given):
    """So that deadlines stay within the 64 bits of a message."""
    assert time_limit_us({OURS: given}) == LONGEST_TIMEOUT_US


MALFORMED = [
    b"",
    b" ",
    b"-1",
    b"+1",
    b"1.5",
    b"1e3",
    b"10ms",
    b" 10",
    b"10 ",
    b"0x10",
    b"1_000",
    b"10, 20",  # sent in two lines
    b"\xb2",  # a digit to Python, in Latin-1
    "\u0663".encode(),
    b"9" * 13,
    b"9" * 5000,
]


@pytest.mark.parametrize("name", TIMEOUT_HEADERS)
@pytest.mark.parametrize("given", MALFORMED, ids=lambda given: repr(given[:12]))
def test_what_is_no_number_of_milliseconds_is_refused(name, given):
    """With the header's name and what it takes; a limit that is not understood is not ignored."""
    with pytest.raises(BadRequestError, match=f"{name.decode()} is .* whole milliseconds") as told:
        time_limit_us({name: given})

    assert len(str(told.value)) < 300


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_a_limit_or_refused(ours, envoys):
    """Nothing else is raised, and every limit is within its bounds."""
    try:
        limit = time_limit_us({OURS: ours, ENVOYS: envoys})
    except BadRequestError:
        return

    assert limit is None or 1000 <= limit <= LONGEST_TIMEOUT_US
