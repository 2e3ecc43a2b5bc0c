"""Verdicts are of bounds, and of what was really seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rollout import judging
from rollout.plan import Limits
from rollout.types import Agreement, Golden, Traffic
from tests.rollout.test_engine import answered
from tests.rollout.world import EDGES_S


def outcome(verdict) -> str:
    """In one word."""
    return "passed" if verdict.passed else "failed" if verdict.decided else "open"


@pytest.mark.parametrize(
    ("candidate", "stable", "percent", "expected"),
    [
        (5, 95, 5, "open"),  # too few to tell
        (50, 950, 5, "passed"),
        (0, 1000, 5, "failed"),  # a canary that is accepted and gets nothing
        (0, 1000, 100, "failed"),
        (100, 900, 5, "failed"),
        (1000, 0, 5, "failed"),  # everything went there
        (400, 1200, 25, "passed"),
        (500, 0, 100, "passed"),
        (3, 0, 100, "open"),
        (0, 0, 50, "open"),
    ],
)
def test_the_share_that_is_seen_is_held_to_the_one_that_was_set(
    candidate, stable, percent, expected
):
    """By an exact interval, with the tolerance on both sides."""
    verdict = judging.share("m/2", answered(candidate), answered(stable), percent, 0.05)

    assert outcome(verdict) == expected


@pytest.mark.parametrize(
    ("candidate", "stable", "percent", "expected"),
    [
        ((2000, 40), (2000, 10), 20, "passed"),  # 50 and 200 per second
        ((500, 10), (8000, 40), 20, "passed"),
        ((800, 40), (3200, 40), 20, "passed"),
        ((800, 40), (3200, 20), 20, "failed"),  # 11 % of all
        ((2000, 10), (8000, 40), 20, "failed"),  # half of all
        ((0, 40), (2000, 10), 5, "failed"),
        ((900, 60), (0, 0), 50, "open"),  # nothing is known of the other one yet
        ((0, 0), (900, 60), 50, "open"),
        ((0, 0), (900, 60), 100, "open"),
        ((900, 60), (0, 0), 100, "passed"),  # it has gone
        ((900, 60), (0, 5), 100, "passed"),
        ((900, 60), (900, 60), 100, "failed"),
    ],
)
def test_who_was_counted_for_longer_must_have_more(candidate, stable, percent, expected):
    """Prometheus scrapes the pods of each version at times of their own; requests, seconds."""
    seen = [
        replace(answered(requests), seconds=float(seconds))
        for requests, seconds in (candidate, stable)
    ]

    assert outcome(judging.share("m/2", *seen, percent, 0.05)) == expected


@pytest.mark.parametrize(
    ("requests", "errors", "expected"),
    [
        (100, 0, "open"),
        (400, 0, "passed"),
        (2000, 5, "passed"),
        (400, 12, "failed"),
        (0, 0, "open"),
    ],
)
def test_errors_are_judged_by_the_bound(requests, errors, expected):
    """None of a hundred does not show that fewer than 1 % fail."""
    limits = Limits.model_validate({"rejected": None, "p99": None})

    verdicts = judging.traffic("m/2", limits, answered(requests, errors), answered(1000))

    assert [(each.rule, outcome(each)) for each in verdicts] == [("errors", expected)]


@pytest.mark.parametrize(
    ("mine", "others", "expected"),
    [
        (1, 1, "passed"),
        (0, 3, "passed"),
        (2, 1, "open"),  # between once and four times as slow, by these buckets
        (4, 1, "failed"),
        (5, 1, "failed"),  # beyond the last bucket
        (5, 5, "open"),
    ],
)
def test_the_ratio_of_p99_is_bounded_by_the_buckets(mine, others, expected):
    """What is known of them, and no more."""
    limits = Limits.model_validate({"errors": None, "rejected": None, "p99": {"ratio_at_most": 2}})

    verdicts = judging.traffic("m/2", limits, answered(900, 0, mine), answered(900, 0, others))

    assert [(each.rule, outcome(each)) for each in verdicts] == [("p99_ratio", expected)]


def test_without_requests_of_the_stable_version_no_ratio_is_judged():
    """At 100 %."""
    verdicts = judging.traffic("m/2", Limits(), answered(900), answered(0))

    assert [each.rule for each in verdicts] == ["errors", "rejected"]


def test_without_answers_of_the_candidate_nothing_is_passed():
    """All of it is open, or failed."""
    limits = Limits.model_validate({"p99": {"at_most_s": 1, "ratio_at_most": 2}})
    none = Traffic(60, 50, 50, 0, EDGES_S, (0,) * len(EDGES_S))

    verdicts = judging.traffic("m/2", limits, none, answered(900))

    assert not any(each.passed for each in verdicts if each.rule != "rejected")
    assert outcome(verdicts[0]) == "failed"


def test_images_that_are_not_answered_count_as_wrong():
    """In both."""
    assert outcome(judging.golden("m/2", Golden(500, 500, 490), 0.9)) == "passed"
    assert outcome(judging.golden("m/2", Golden(500, 300, 300), 0.9)) == "failed"
    assert outcome(judging.agreement("m/2", Agreement(500, 490, 0), 0.9)) == "passed"
    assert outcome(judging.agreement("m/2", Agreement(300, 300, 200), 0.9)) == "failed"
    assert outcome(judging.golden("m/2", Golden(5, 5, 5), 0.9)) == "open"


def test_a_candidate_that_just_misses_the_limit_passes_rarely():
    """In 2.5 % of samples at most, by simulation."""
    limits = Limits.model_validate({"rejected": None, "p99": None})
    drawn = np.random.default_rng(7).binomial(2000, 0.0101, size=2000)

    passed = [
        judging.traffic("m/2", limits, answered(2000, int(errors)), answered(0))[0].passed
        for errors in drawn
    ]

    assert np.mean(passed) <= 0.025 + 3 * np.sqrt(0.025 / 2000)
