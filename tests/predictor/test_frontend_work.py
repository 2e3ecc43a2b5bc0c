"""What frontends' threads spend, shared out among the versions whose images were answered."""

from __future__ import annotations

import threading
import time

import pytest

from predictor.counts import StatisticsLayout, Work
from predictor.frontend_work import LEAST_INTERVALS, Clocks, FrontendWork, thread_clock
from predictor.observation import Observation
from predictor.statistics import RequestCounts, Statistics
from tests.predictor.test_statistics import answered

LAYOUT = StatisticsLayout(frontends=1, instances=1, largest_batch=1)


class Frontend:
    """Clocks and counts of two versions, moved by hand."""

    def __init__(self, start_ns: int = 0) -> None:
        self.done = Work(loop_ns=1000, pool_ns=1000)  # of its start
        statistics = [Statistics(Statistics.create(LAYOUT), LAYOUT) for _ in range(2)]
        self.versions = [each.requests(0) for each in statistics]
        self._read = [each.read for each in statistics]
        self._now_ns = 0
        self.work = FrontendWork(
            lambda: Work(**{n: getattr(self.done, n) for n in FIELDS}), HELD_S, lambda: self._now_ns
        )
        self.does(loop_ns=start_ns)
        self.look()

    def look(self, *, busy: bool = False, seconds: float = 0.25) -> None:
        """Some time later the clocks are read."""
        self._now_ns += int(seconds * 1e9)
        self.work.share_out(self.versions, busy=busy)

    def does(self, **more: int) -> None:
        """Some more of everything."""
        for name, amount in more.items():
            setattr(self.done, name, getattr(self.done, name) + amount)

    def learns(self, loop_ns: int, times: int = 120) -> None:
        """Nothing happens but what always goes on."""
        for _ in range(times):
            self.does(loop_ns=loop_ns)
            self.look()

    def counted(self, version: int) -> Work:
        """What a version's row says."""
        return self._read[version]().work


HELD_S = 10.0
FIELDS = Work.__slots__


def answer(counts: RequestCounts, images: int) -> None:
    """A request of so many images."""
    counts.count(answered(images=images, answered=images))


def refuse(counts: RequestCounts, requests: int) -> None:
    """So many requests are refused."""
    for _ in range(requests):
        refusal = Observation("v2", "POST /", "id", error="the queue is full")
        refusal.began_ns, refusal.read_ns, refusal.ended_ns = 5, 1_000_000_005, 1_000_000_305
        counts.count(refusal)


def test_versions_share_work_by_their_images():
    """One thread does it for all of them."""
    frontend = Frontend()
    answer(frontend.versions[0], 3)
    answer(frontend.versions[1], 1)
    frontend.does(loop_ns=400, pool_ns=800, pool_images=4)
    frontend.look()

    assert (frontend.counted(0).loop_ns, frontend.counted(1).loop_ns) == (300, 100)
    assert (frontend.counted(0).pool_ns, frontend.counted(1).pool_images) == (600, 1)


def test_what_was_done_before_an_answer_is_counted_with_it():
    """Decoding takes longer than a look at the clocks."""
    frontend = Frontend()
    frontend.does(pool_ns=500)
    frontend.look(busy=True)
    assert frontend.counted(0).pool_ns == 0
    answer(frontend.versions[0], 1)
    frontend.does(pool_ns=100)
    frontend.look()

    assert frontend.counted(0).pool_ns == 600


def test_what_goes_on_without_images_is_not_charged_to_them():
    """Timers and probes; what they cost is learnt while there is nothing else."""
    frontend = Frontend()
    frontend.learns(loop_ns=100)
    answer(frontend.versions[0], 2)
    frontend.does(loop_ns=150)
    frontend.look()

    assert frontend.counted(0).loop_ns == 50


def test_what_goes_on_takes_longer_the_longer_an_image_does():
    """It is decoded for two seconds, and nothing else is done."""
    frontend = Frontend()
    frontend.learns(loop_ns=100)
    for _ in range(8):
        frontend.does(loop_ns=100)
        frontend.look(busy=True)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=130)
    frontend.look()

    assert frontend.counted(0).loop_ns == 30


def test_a_scrape_now_and_then_is_not_what_goes_on():
    """Nor is it taken off the work of images for that."""
    frontend = Frontend()
    for _ in range(3):
        frontend.learns(loop_ns=10, times=9)
        frontend.learns(loop_ns=10_010, times=1)
    for _ in range(100):
        answer(frontend.versions[0], 1)
        frontend.does(loop_ns=60)
        frontend.look()

    assert frontend.counted(0).loop_ns == 100 * 50


def test_what_a_start_took_is_forgotten_after_a_while():
    """Most of the first two seconds; then it is quiet for three, and asked."""
    frontend = Frontend()
    frontend.learns(loop_ns=100_000_000, times=8)
    frontend.learns(loop_ns=10, times=12)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=60)
    frontend.look()

    assert frontend.counted(0).loop_ns == 50


def test_connections_whose_clients_take_their_time_count_until_the_next_answer():
    """Nothing is under way in the pod meanwhile: the next request waits behind the answers."""
    frontend = Frontend()
    answer(frontend.versions[0], 1)
    frontend.look()
    for _ in range(20):
        frontend.does(connections_ns=250_000_000)
        frontend.look()
    answer(frontend.versions[0], 1)
    frontend.does(connections_ns=250_000_000)
    frontend.look()

    assert frontend.counted(0).connections_ns == 21 * 250_000_000


def test_what_a_version_answers_while_others_are_busy_counts_from_its_first_look_on():
    """Although nothing is shared out at that look."""
    frontend = Frontend()
    frontend.work = FrontendWork(
        lambda: Work(**{n: getattr(frontend.done, n) for n in FIELDS}), HELD_S, lambda: 0
    )
    frontend.does(loop_ns=1000)
    frontend.look(busy=True)
    frontend.does(loop_ns=1000)
    answer(frontend.versions[0], 1)
    frontend.look(busy=True)

    assert frontend.counted(0).loop_ns == 2000


def test_work_that_no_image_comes_of_is_not_kept_for_the_next_one():
    """Something waits for an instance that does not come; then light traffic is answered."""
    frontend = Frontend()
    for _ in range(400):
        frontend.does(loop_ns=1000)
        frontend.look(busy=True)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=1000)
    frontend.look(busy=True)

    assert frontend.counted(0).loop_ns <= (4 * HELD_S + 1) * 1000


def test_refusals_are_nobodys_work():
    """Neither is what they take what goes on anyway, nor do images pay for it."""
    frontend = Frontend()
    frontend.learns(loop_ns=100)
    for _ in range(40):
        refuse(frontend.versions[0], 10)
        frontend.does(loop_ns=3100)
        frontend.look()
    assert frontend.counted(0).loop_ns == 0
    answer(frontend.versions[0], 5)
    refuse(frontend.versions[0], 15)
    frontend.does(loop_ns=100 + 15 * 300 + 5 * 350)
    frontend.look()

    assert frontend.counted(0).loop_ns == 5 * 350
    assert frontend.counted(0).refused_ns == (400 + 15) * 300


def test_refusals_take_no_longer_than_images():
    """Their clocks go on while the machine does something else."""
    frontend = Frontend()
    answer(frontend.versions[0], 1)
    refuse(frontend.versions[0], 3)
    frontend.does(loop_ns=400)
    frontend.look()

    assert frontend.counted(0).loop_ns == 100


def test_what_is_done_once_does_not_go_on():
    """A new version's files are checked while it is quiet; then there is load for hours."""
    frontend = Frontend()
    frontend.learns(loop_ns=100)
    for _ in range(8):
        frontend.does(other_ns=250_000_000)  # a whole core
        frontend.look()
    answer(frontend.versions[0], 1)
    frontend.does(other_ns=10_000_000)
    frontend.look()

    assert frontend.counted(0).other_ns > 5_000_000


def test_a_pod_that_is_asked_at_once_knows_of_no_upkeep():
    """What it saw of it was its start."""
    frontend = Frontend()
    frontend.learns(loop_ns=10_000_000, times=LEAST_INTERVALS - 1)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=50)
    frontend.look()

    assert frontend.counted(0).loop_ns == 50


def test_what_a_process_does_at_its_start_is_not_what_goes_on():
    """It loads its libraries, say."""
    frontend = Frontend(start_ns=10**9)
    frontend.learns(loop_ns=100)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=150)
    frontend.look()

    assert frontend.counted(0).loop_ns == 50


def test_a_version_that_comes_later_has_no_part_in_what_was_before():
    """Its row may have been counted in by this process's predecessor."""
    frontend = Frontend()
    late = Statistics(Statistics.create(LAYOUT), LAYOUT)
    counts = late.requests(0)
    answer(counts, 100)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=100)
    frontend.versions.append(counts)
    frontend.look()

    assert frontend.counted(0).loop_ns == 100
    assert late.read().work.loop_ns == 0


def test_a_thread_has_a_clock_of_its_own():
    """It goes on while that thread works and no other does, and stands while it waits."""
    go, done, stop = threading.Event(), threading.Event(), threading.Event()
    burnt: list[int] = []

    def burn() -> None:
        go.wait()
        before = time.thread_time_ns()
        while time.thread_time_ns() - before < 20_000_000:
            pass
        burnt.append(time.thread_time_ns() - before)
        done.set()
        stop.wait()

    thread = threading.Thread(target=burn)
    thread.start()
    clock = thread_clock(thread.ident)
    before = clock()
    go.set()
    done.wait()
    worked_ns = clock() - before
    mine = time.thread_time_ns()
    while time.thread_time_ns() - mine < 20_000_000:  # another thread works
        pass
    waited_ns = clock() - before - worked_ns
    stop.set()
    thread.join()

    assert burnt[0] <= worked_ns < burnt[0] + 5_000_000
    assert waited_ns < 5_000_000


def test_a_thread_that_was_never_started_has_no_clock():
    """Rather than that of whoever asks."""
    with pytest.raises(ValueError, match="not been started"):
        thread_clock(None)


def test_connections_count_for_as_long_as_they_have_a_request():
    """Two of them, whatever else the process does."""

    class Pool:
        decoded, decoded_here, here_ns = 5, 7, 9

        def cpu_ns(self) -> int:
            return 0

    clocks = Clocks(Pool(), lambda: (2, 300))
    first, second = clocks.read(), clocks.read()

    assert second.connections_ns > first.connections_ns > 0
    assert (first.untaken, second.untaken) == (300, 600)
    assert (second.pool_images, second.here_images, second.here_ns) == (5, 7, 9)
