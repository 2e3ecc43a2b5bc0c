"""What counts as explained after faults, and whose memory is held against whose."""

from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.census import Census, Resident
from benchmarks.errors import BenchmarkError
from benchmarks.soak import FULL_ASKS, Outcome, Soak
from benchmarks.soak_findings import closest, unexplained, wanted

RESIDENT = (
    Resident("millrace: supervisor", 40.0, 1.0, 100.0),
    Resident("millrace: frontend 0", 80.0, 4.0, 60.0),
    Resident("millrace: instance net cpu:0", 50.0, 4.0, 10.0),
)
CENSUS = Census({"frontend": 2, "instance": 2}, {"frontend socket": 9}, RESIDENT, 4)
GOOD = Outcome(
    soak=Soak(3, 1, ("kill instance",), 8, "cpu", 5.0, 0.2),
    minutes=1.0,
    done=Counter({"kill instance": 3}),
    told=Counter({"runtime error: 500": 4}),
    requests=Counter({"200": 100, "503": 2}),
    probes=9,
    lies=Counter(),
    details=(),
    rejected=Counter({"not_ready": 3}),
    expired=0,
    failures=Counter({"error": 4}),
    restarts={"frontend": 0, "instance": 3},
    full_answers=FULL_ASKS,
    before=CENSUS,
    after=CENSUS,
)


def missed(**changes):
    """The findings that do not hold once these are otherwise."""
    return [each.wanted for each in wanted(replace(GOOD, **changes)) if not each.holds]


def test_a_pod_that_kept_to_everything_misses_nothing():
    """Refusals that are counted and all."""
    assert missed() == []


@pytest.mark.parametrize(
    ("requests", "rejected", "expired", "left"),
    [
        ({"500": 1}, {}, 0, {"500": 1}),
        ({"400": 2}, {}, 0, {"400": 2}),
        ({"503": 3}, {"not_ready": 1, "deadline": 1}, 0, {"503": 1}),
        ({"503": 3}, {"unloaded": 9}, 0, {"503": 3}),
        ({"504": 2}, {}, 1, {"504": 1}),
        ({"503": 1, "504": 1}, {"queue_full": 5}, 4, {}),
    ],
)
def test_an_error_is_explained_by_what_the_pod_counts_for_it(requests, rejected, expired, left):
    """And by nothing else; a 500 by nothing at all."""
    outcome = replace(GOOD, requests=Counter(requests), rejected=Counter(rejected), expired=expired)

    assert unexplained(outcome) == left
    assert bool(missed(requests=outcome.requests, rejected=outcome.rejected, expired=expired)) == (
        bool(left)
    )


def test_a_bad_image_that_is_answered_is_told():
    """Whatever the label is, it is wrong."""
    assert missed(told=Counter({"out of memory: 200": 1})) == [
        "an image at which the runtime fails is told so"
    ]


def grown(place, mib):
    """The census with one process at so many MiB."""
    changed = [*RESIDENT]
    changed[place] = replace(changed[place], own_mib=mib)
    return replace(CENSUS, resident=tuple(changed))


@pytest.mark.parametrize(("place", "fits", "over"), [(0, 43.9, 44.5), (1, 99, 101), (2, 62, 63)])
def test_memory_that_grows_is_told(place, fits, over):
    """A tenth for the supervisor, which lives through everything, a quarter for the others."""
    assert missed(after=grown(place, fits)) == []
    assert [text.split(" ")[:2] for text in missed(after=grown(place, over))] == [["memory", "per"]]


def test_processes_of_like_age_are_compared():
    """Not the oldest with the youngest."""
    young, old = Resident("a", 1.0, 0.0, 5.0), Resident("a", 9.0, 0.0, 500.0)
    middle = Resident("a", 2.0, 0.0, 8.0)

    assert closest([middle], [old, young]) == (middle, young)
    with pytest.raises(BenchmarkError, match="missing"):
        closest([middle], [])
