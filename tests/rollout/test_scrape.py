"""Counts by version, of what pods say: only what was after a moment, whatever becomes of them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import UnreachableError
from rollout.growth import REQUESTS, SECONDS_BUCKET, Reading, Series
from rollout.scrape import ScrapeMeter, counters
from rollout.tally import Tallies, Tally
from tests.rollout.web import Web

GOOD, FAILED = Series(REQUESTS, "v2", "200"), Series(REQUESTS, "v2", "500")
PROBED = Series(REQUESTS, "probe", "200")
PAGE = """\
# TYPE millrace_requests_total counter
millrace_requests_total{{code="200",model="net",protocol="v2",version="1"}} {good}
millrace_requests_total{{code="503",model="net",protocol="v1",version="1"}} {busy}
millrace_requests_total{{code="OK",model="net",protocol="grpc",version="2"}} {grpc}
millrace_requests_total{{code="200",model="other",protocol="v2",version="1"}} 9000
# TYPE millrace_request_seconds histogram
millrace_request_seconds_bucket{{le="0.1",model="net",version="1"}} {fast}
millrace_request_seconds_bucket{{le="0.5",model="net",version="1"}} {good}
millrace_request_seconds_bucket{{le="+Inf",model="net",version="1"}} {good}
millrace_request_seconds_count{{model="net",version="1"}} {good}
"""


@pytest.fixture
def web() -> Iterator[Web]:
    """Something that answers."""
    with contextlib.closing(Web()) as answering:
        yield answering


def bucket(edge_s: float) -> Series:
    """A bucket of the histogram."""
    return Series(SECONDS_BUCKET, edge_s=edge_s)


def test_counting_begins_with_the_first_reading_after_the_moment():
    """What was before it came with other shares."""
    tally = Tally(since=100)
    for at, value in ((90, 5.0), (101, 20.0), (110, 50.0)):
        tally.add(Reading("pod", at, {GOOD: value}))

    found = tally.traffic(9)

    assert (found.requests, found.seconds) == (30, 9)


def test_nothing_is_known_before_the_second_reading():
    """A counter's value alone says nothing of the time since."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {GOOD: 500.0}))

    assert (tally.traffic(9).requests, tally.traffic(9).seconds) == (0, 0)


def test_a_pod_that_was_started_again_counts_from_zero():
    """What it had counted until the last reading stays."""
    tally = Tally(since=0)
    for at, value in ((1, 10.0), (2, 30.0), (3, 4.0), (4, 9.0)):
        tally.add(Reading("pod", at, {GOOD: value}))

    assert tally.traffic(9).requests == 20 + 4 + 5


def test_a_counter_that_is_gone_was_started_again_too():
    """Else its first value afterwards would be taken for what it had grown to."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {GOOD: 0.0, FAILED: 0.0}))
    tally.add(Reading("pod", 2, {GOOD: 5.0, FAILED: 3.0}))
    tally.add(Reading("pod", 3, {GOOD: 1.0}))
    tally.add(Reading("pod", 4, {GOOD: 2.0, FAILED: 7.0}))

    assert tally.traffic(9).errors == 3 + 7


def test_a_code_that_is_seen_for_the_first_time_has_grown_from_zero():
    """Fifty failures at once are fifty, and not where a counter begins."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {GOOD: 100.0}))
    tally.add(Reading("pod", 2, {GOOD: 100.0, FAILED: 50.0}))

    assert (tally.traffic(9).requests, tally.traffic(9).errors) == (50, 50)


def test_readings_that_come_twice_or_late_count_once():
    """Windows of Prometheus overlap."""
    tally = Tally(since=0)
    for at, value in ((1, 0.0), (2, 5.0), (1, 0.0), (2, 5.0), (3, 8.0)):
        tally.add(Reading("pod", at, {GOOD: value}))

    assert tally.traffic(9).requests == 8


@given(
    events=st.lists(st.tuples(st.integers(0, 50), st.booleans()), max_size=30),
    windows=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=8),
)
def test_no_request_is_lost_or_counted_twice(events, windows):
    """However often a pod is started again, and however the windows of Prometheus overlap."""
    value = total = 0
    readings = [Reading("pod", 0, {GOOD: 0.0})]
    for at, (requests, restarted) in enumerate(events, start=1):
        if restarted:  # that it was shows where it has answered less than half since
            requests, value = min(requests, max(value - 1, 0) // 2), 0
        value, total = value + requests, total + requests
        readings.append(Reading("pod", at, {GOOD: float(value)}))

    tally, read = Tally(since=0), 0
    for back, ahead in windows:
        for reading in readings[max(0, read - back) : read + ahead]:
            tally.add(reading)
        read = min(read + ahead, len(readings))
    for reading in readings[read:]:
        tally.add(reading)

    assert tally.traffic(9).requests == total


def test_a_counter_that_is_a_little_lower_was_read_late():
    """Where replicas of Prometheus are queried as one; a million requests are days old."""
    tally = Tally(since=0)
    for at, value in ((1, 1e6), (1.3, 1e6 - 1), (2, 1e6 + 100), (2.3, 1e6 + 98), (3, 1e6 + 150)):
        tally.add(Reading("pod", at, {GOOD: value, bucket(math.inf): value}))

    assert (tally.traffic(9).requests, tally.traffic(9).counts) == (150, (150,))


def test_a_series_that_a_reading_lacks_stands_where_it_was():
    """It does not come back with all that it ever counted."""
    tally = Tally(since=0)
    both = {GOOD: 1e6, FAILED: 70.0, bucket(0.1): 1e6, bucket(math.inf): 1e6}
    tally.add(Reading("pod", 1, both))
    tally.add(Reading("pod", 2, {FAILED: 71.0, bucket(0.1): 1e6 + 40}))
    halfway = tally.traffic(9)
    tally.add(Reading("pod", 3, {each: value + 100 for each, value in both.items()}))

    assert (halfway.requests, halfway.counts) == (1, (40, 0))
    assert (tally.traffic(9).requests, tally.traffic(9).errors) == (200, 100)
    assert tally.traffic(9).counts == (100, 0)


def test_a_pod_that_has_nothing_of_the_version_any_more_counts_it_from_zero():
    """It was let go of, and loaded again."""
    tally = Tally(since=0)
    for at, values in ((1, {GOOD: 0.0}), (2, {GOOD: 30.0}), (3, {}), (4, {GOOD: 20.0})):
        tally.add(Reading("pod", at, values))

    assert tally.traffic(9).requests == 50


def test_of_several_scrapers_of_a_pod_the_one_that_saw_most_is_believed():
    """Each looks at times of its own, and their readings in turns go up and down."""
    tally = Tally(since=0)
    for at, scraper, value in ((1, "a", 1000), (1.1, "b", 990), (2, "a", 1400), (2.1, "b", 1395)):
        tally.add(Reading("pod", at, {GOOD: float(value)}, scraper))
    tally.add(Reading("other", 1, {GOOD: 0.0}, "a"))
    tally.add(Reading("other", 2, {GOOD: 7.0}, "a"))

    assert tally.traffic(9).requests == 405 + 7


def test_a_scraper_that_leaves_buckets_out_hides_none():
    """``metricRelabelings`` of one job drop what the other one keeps."""
    tally = Tally(since=0)
    for at in (1, 2):
        whole = {GOOD: 100.0 * at, bucket(0.1): 60.0 * at, bucket(math.inf): 100.0 * at}
        tally.add(Reading("pod", at, whole, "whole"))
        tally.add(Reading("pod", at + 0.5, {GOOD: 101.0 * at}, "requests alone"))
        tally.add(Reading("pod", at + 0.7, {bucket(math.inf): 101.0 * at}, "no edges"))

    found = tally.traffic(9)

    assert (found.requests, found.edges_s, found.counts) == (101, (0.1, math.inf), (60, 40))


def test_pods_are_added_up_and_each_begins_for_itself():
    """One that comes later brings what it counts from then."""
    tally = Tally(since=0)
    tally.add(Reading("a", 1, {GOOD: 0.0}))
    tally.add(Reading("a", 2, {GOOD: 10.0}))
    tally.add(Reading("b", 2, {GOOD: 1000.0}))
    tally.add(Reading("b", 3, {GOOD: 1001.0}))

    assert tally.traffic(9).requests == 11


@pytest.mark.parametrize(
    ("code", "errors", "rejected"),
    [
        *[(code, 0, 0) for code in ("200", "400", "404", "413", "499", "OK", "CANCELLED")],
        *[(code, 0, 1) for code in ("429", "503", "504")],
        *[(code, 0, 1) for code in ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")],
        *[(code, 1, 0) for code in ("500", "501", "502", "INTERNAL", "UNKNOWN", "DATA_LOSS")],
        *[(code, 0, 0) for code in ("INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION")],
    ],
)
def test_codes_of_both_protocols_mean_the_same(code, errors, rejected):
    """An error is the version's fault, a refusal is for want of room or time."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {}))
    tally.add(Reading("pod", 2, {Series(REQUESTS, "any", code): 1.0}))

    found = tally.traffic(9)

    assert (found.requests, found.errors, found.rejected) == (1, errors, rejected)


def test_probes_are_no_requests():
    """The rollout asks them itself."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {PROBED: 0.0}))
    tally.add(Reading("pod", 2, {PROBED: 500.0, GOOD: 3.0}))

    assert tally.traffic(9).requests == 3


def test_buckets_are_counted_each_alone():
    """Prometheus' go up to an edge from zero."""
    tally = Tally(since=0)
    tally.add(Reading("pod", 1, {bucket(e): 10.0 for e in (0.1, 0.5, math.inf)}))
    tally.add(Reading("pod", 2, {bucket(0.1): 14.0, bucket(0.5): 19.0, bucket(math.inf): 20.0}))

    found = tally.traffic(9)

    assert (found.edges_s, found.counts) == ((0.1, 0.5, math.inf), (4, 5, 1))


def test_pods_of_two_releases_are_added_up_by_the_edges_that_both_have():
    """No request is lost on the way."""
    tally = Tally(since=0)
    for at in (1, 2):
        tally.add(Reading("old", at, {bucket(0.1): 3.0 * at, bucket(math.inf): 4.0 * at}))
        new = {bucket(0.1): 5.0 * at, bucket(0.2): 6.0 * at, bucket(math.inf): 6.0 * at}
        tally.add(Reading("new", at, new))

    found = tally.traffic(9)

    assert (found.edges_s, found.counts) == ((0.1, math.inf), (8, 2))


def test_a_model_is_read_by_version_and_others_are_left_out():
    """Names, labels and numbers as pods write them."""
    found = counters(PAGE.format(good=7, busy=2, grpc=4, fast=3), "net")

    assert found["2"] == {Series(REQUESTS, "grpc", "OK"): 4}
    assert found["1"] == {
        Series(REQUESTS, "v2", "200"): 7,
        Series(REQUESTS, "v1", "503"): 2,
        bucket(0.1): 3,
        bucket(0.5): 7,
        bucket(math.inf): 7,
    }


class Clock:
    """Seconds of the epoch, as told."""

    now = 0.0

    def __call__(self) -> float:
        """What it shows."""
        return self.now


def test_versions_that_are_compared_are_counted_by_the_same_looks(web: Web):
    """Else the one that is asked about later would have had more time for its requests."""
    clock = Clock()
    meter = ScrapeMeter([web.url], "net", clock=clock)
    found = []
    for at, good, grpc in ((10.0, 0, 0), (20.0, 30, 10)):
        clock.now = at
        web.says("/metrics", PAGE.format(good=good, busy=0, grpc=grpc, fast=good))
        old = meter.traffic("1", since=5.0)
        web.says("/metrics", PAGE.format(good=good + 7, busy=0, grpc=grpc + 7, fast=good))
        new = meter.traffic("2", since=5.0)
        found.append((old.requests, old.seconds, new.requests, new.seconds))
    meter.close()

    assert found == [(0, 0, 0, 0), (30, 10, 10, 10)]


def test_who_asks_twice_or_later_gets_a_new_look(web: Web):
    """A look serves every version once, and no longer than a moment."""
    clock = Clock()
    meter = ScrapeMeter([web.url], "net", clock=clock)
    for version, at in (("1", 1.0), ("1", 1.1), ("2", 1.2), ("2", 1.3), ("1", 9.0)):
        clock.now = at
        web.says("/metrics", PAGE.format(good=at * 10, busy=0, grpc=0, fast=0))
        meter.traffic(version, since=0.0)
    meter.close()

    assert len(web.asked) == 4


def test_a_look_that_does_not_go_back_far_enough_is_not_taken(web: Web):
    """Prometheus has what was before it."""
    tallies = Tallies()
    tallies.of("1", 90.0)
    assert tallies.needs_look("1", 100.0)
    tallies.looked(100.0, {"2": [Reading("pod", 95.0, {GOOD: 4.0})]}, begin=90.0)

    tallies.of("2", 92.0)
    assert not tallies.needs_look("2", 100.0)
    tallies.of("2", 10.0)
    assert tallies.needs_look("2", 100.0)


def test_a_new_moment_begins_anew(web: Web):
    """With other shares, what was before does not count."""
    clock = Clock()
    meter = ScrapeMeter([web.url], "net", clock=clock)
    found = []
    for at, good, since in ((10.0, 0, 5.0), (20.0, 10, 5.0), (30.0, 30, 25.0), (40.0, 70, 25.0)):
        clock.now = at
        web.says("/metrics", PAGE.format(good=good, busy=0, grpc=0, fast=good))
        found.append(meter.traffic("1", since).requests)
    meter.close()

    assert found == [0, 10, 0, 40]


@pytest.mark.parametrize(
    ("status", "text", "told"),
    [
        (404, "nothing here", "404; is it a pod of Millrace?"),
        (200, 'millrace_requests_total{model="net" 1', "are no Prometheus metrics"),
    ],
)
def test_what_tells_nothing_is_not_taken_for_zero(web: Web, status, text, told):
    """It is said which pod, and what is wrong."""
    web.says("/metrics", text, status)
    meter = ScrapeMeter([web.url], "net")

    with pytest.raises(UnreachableError, match=told) as problem:
        meter.traffic("1", 0.0)
    meter.close()

    assert str(problem.value).startswith(web.url)


def test_a_pod_that_is_gone_is_told_of():
    """Counts of the others alone would be too few."""
    meter = ScrapeMeter(["http://bob:s3cret@127.0.0.1:9"], "net")

    with pytest.raises(UnreachableError, match=r"^http://127.0.0.1:9/metrics: cannot be asked"):
        meter.traffic("1", 0.0)
    meter.close()
