"""Which version takes a request."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from predictor.traffic import WHOLE, Traffic, with_share, without_share

VERSIONS = st.lists(st.sampled_from("12345"), min_size=1, max_size=5, unique=True)


@st.composite
def shares(draw) -> dict[str, int]:
    """Percent by version, 100 in all."""
    versions = draw(VERSIONS)
    cuts = sorted(
        draw(
            st.lists(st.integers(0, WHOLE), min_size=len(versions) - 1, max_size=len(versions) - 1)
        )
    )
    ends = [0, *cuts, WHOLE]
    return {v: ends[n + 1] - ends[n] for n, v in enumerate(versions)}


@given(shares(), st.integers(1, 250))
def test_every_version_has_its_share_of_any_beginning(given_shares, requests):
    """To within one request for each version."""
    traffic = Traffic(given_shares)

    chosen = Counter(traffic.choose(given_shares) for _ in range(requests))

    for version, share in given_shares.items():
        assert abs(chosen[version] - requests * share / WHOLE) <= len(given_shares)
        assert share or not chosen[version]


def test_a_hundred_requests_are_shared_out_exactly():
    """And not in one block each."""
    traffic = Traffic({"1": 90, "2": 10})

    chosen = [traffic.choose(("1", "2")) for _ in range(100)]

    assert Counter(chosen) == {"1": 90, "2": 10}
    assert all(Counter(chosen[n : n + 10]) == {"1": 9, "2": 1} for n in range(0, 100, 10))


def test_a_version_that_cannot_take_requests_leaves_them_to_the_others():
    """One without a share comes last, and is better than none."""
    traffic = Traffic({"1": 90, "2": 10, "3": 0})

    assert {traffic.choose(("2", "3")) for _ in range(20)} == {"2"}
    assert traffic.choose(("3",)) == "3"
    assert traffic.choose(()) is None


@given(shares(), st.sampled_from("12345"), st.integers(0, WHOLE))
def test_one_share_is_set_and_the_others_are_scaled(given_shares, version, share):
    """Whole percents that sum to a hundred, in proportion as before."""
    new = with_share(given_shares, version, share)

    assert sum(new.values()) == WHOLE
    assert all(part >= 0 for part in new.values())
    if len(new) > 1:
        assert new[version] == share


@given(shares())
def test_what_a_version_had_goes_to_those_that_are_left(given_shares):
    """In proportion; to the last where none of them had any."""
    gone = next(iter(given_shares))
    if len(given_shares) == 1:
        return

    left = without_share(given_shares, gone)

    assert set(left) == set(given_shares) - {gone}
    assert sum(left.values()) == WHOLE


def test_a_share_of_the_only_version_is_the_whole():
    """There is nobody else to take the rest."""
    assert with_share({}, "1", 10) == {"1": 100}
