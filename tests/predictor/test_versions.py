"""Which version takes a request, and what a refusal leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import pytest

from predictor.errors import OverloadedError, RefusedError
from predictor.versions import Versions


class Served:
    """A version that refuses, or does not; it is its own classifier and dispatcher."""

    def __init__(self, name: str, *, full: bool) -> None:
        self.name = name
        self.full = full
        self.ready = True
        self.asked = self.counted = 0

    @property
    def classifier(self) -> Served:
        """The part that is asked."""
        return self

    @property
    def dispatcher(self) -> Served:
        """The part that counts."""
        return self

    def foresee(self, limit_us: int | None) -> None:
        """Refuse, if there is no room."""
        self.asked += 1
        if self.full:
            raise OverloadedError("full", "queue_full")

    def count(self, refusal: RefusedError) -> None:
        """A request was refused."""
        self.counted += 1


def versions_of(*served: Served, **traffic: int) -> Versions:
    """These, with their percent of the requests as ``v1`` and so on."""
    shares = {name[1:]: share for name, share in traffic.items()}
    versions = Versions("m", 8, shares, lambda: None)
    for each in served:
        versions.add(cast("Any", each))
    return versions


@pytest.fixture
def without_collector() -> Iterator[None]:
    """The garbage collector is off, so that only what nobody holds any more is gone."""
    gc.disable()
    yield
    gc.enable()


def test_a_version_without_traffic_lets_nobody_in():
    """What it would take, nobody sends it."""
    full, idle = Served("1", full=True), Served("2", full=False)
    versions = versions_of(full, idle, v1=100, v2=0)

    with pytest.raises(OverloadedError):
        versions.foresee("", None)
    assert (idle.asked, full.counted) == (0, 1)


def test_one_version_with_room_is_enough_and_nothing_is_counted():
    """Whichever of the two is asked first."""
    full, roomy = Served("1", full=True), Served("2", full=False)
    versions = versions_of(full, roomy, v1=50, v2=50)

    versions.foresee("", None)

    assert full.counted == 0


def test_a_version_that_is_named_is_the_only_one_asked():
    """Though another one would take it."""
    full, roomy = Served("1", full=True), Served("2", full=False)
    versions = versions_of(full, roomy, v1=50, v2=50)

    with pytest.raises(OverloadedError):
        versions.foresee("1", None)
    assert (roomy.asked, full.counted) == (0, 1)


def test_a_refusal_leaves_nothing_for_the_garbage_collector(without_collector):
    """Hundreds a second would have it stop the event loop for tens of milliseconds."""
    versions = versions_of(Served("1", full=True), Served("2", full=True), v1=50, v2=50)

    try:
        versions.foresee("", None)
    except OverloadedError as refusal:
        gone = weakref.ref(refusal)

    assert gone() is None


def test_a_version_that_is_gone_has_no_share_to_tell_of():
    """Who reads the shares to write others would name what is not there."""
    versions = versions_of(Served("1", full=False), Served("2", full=False), v1=0, v2=100)

    versions.remove("1")

    assert versions.traffic == {"2": 100}


def test_what_is_turned_away_counts_by_the_shares():
    """Nobody took it; else all of it would be the version's with most of the requests."""
    versions = versions_of(Served("1", full=False), Served("2", full=False), v1=75, v2=25)

    counted = Counter(versions.turned_away().name for _ in range(40))

    assert counted == {"1": 30, "2": 10}


def test_what_is_turned_away_takes_nobodys_turn():
    """Else a client that sends every other request wrong would send all others to one version."""
    versions = versions_of(Served("1", full=False), Served("2", full=False), v1=50, v2=50)

    taken = []
    for _ in range(20):
        taken.append(versions.choose().name)
        versions.turned_away()

    assert Counter(taken) == {"1": 10, "2": 10}
