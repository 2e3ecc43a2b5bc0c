"""What frontends' threads spend, shared out among the versions whose images were answered."""

from __future__ import annotations

import threading

from predictor.counts import StatisticsLayout, Work
from predictor.frontend_work import Clocks, FrontendWork, thread_clock
from predictor.statistics import RequestCounts, Statistics
from tests.predictor.test_statistics import answered

LAYOUT = StatisticsLayout(frontends=1, instances=1, largest_batch=1)


class Frontend:
    """Clocks and counts of two versions, moved by hand."""

    def __init__(self) -> None:
        self.done = Work(loop_ns=1000, pool_ns=1000)  # of its start
        statistics = [Statistics(Statistics.create(LAYOUT), LAYOUT) for _ in range(2)]
        self.versions = [each.requests(0) for each in statistics]
        self._read = [each.read for each in statistics]
        self.work = FrontendWork(lambda: Work(**{n: getattr(self.done, n) for n in FIELDS}))
        self.work.share_out(self.versions)

    def does(self, **more: int) -> None:
        """Some more of everything."""
        for name, amount in more.items():
            setattr(self.done, name, getattr(self.done, name) + amount)

    def counted(self, version: int) -> Work:
        """What a version's row says."""
        return self._read[version]().work


FIELDS = Work.__slots__


def answer(counts: RequestCounts, images: int) -> None:
    """A request of so many images."""
    counts.count(answered(images=images))


def test_versions_share_work_by_their_images():
    """One thread does it for all of them."""
    frontend = Frontend()
    answer(frontend.versions[0], 3)
    answer(frontend.versions[1], 1)
    frontend.does(loop_ns=400, pool_ns=800, pool_images=4)
    frontend.work.share_out(frontend.versions)

    assert (frontend.counted(0).loop_ns, frontend.counted(1).loop_ns) == (300, 100)
    assert (frontend.counted(0).pool_ns, frontend.counted(1).pool_images) == (600, 1)


def test_what_was_done_before_an_answer_is_counted_with_it():
    """Decoding takes longer than a look at the clocks."""
    frontend = Frontend()
    frontend.does(pool_ns=500, pool_images=1, connections_ns=9)
    frontend.work.share_out(frontend.versions)
    assert frontend.counted(0).pool_ns == 0
    answer(frontend.versions[0], 1)
    frontend.does(pool_ns=100)
    frontend.work.share_out(frontend.versions)

    assert frontend.counted(0).pool_ns == 600


def test_what_goes_on_without_images_is_not_charged_to_them():
    """Timers and probes; what they cost is learnt while there is nothing else."""
    frontend = Frontend()
    for _ in range(40):
        frontend.does(loop_ns=100)
        frontend.work.share_out(frontend.versions)
    answer(frontend.versions[0], 2)
    frontend.does(loop_ns=150)
    frontend.work.share_out(frontend.versions)

    assert frontend.counted(0).loop_ns == 50


def test_a_version_that_comes_later_has_no_part_in_what_was_before():
    """Its row may have been counted in by this process's predecessor."""
    frontend = Frontend()
    late = Statistics(Statistics.create(LAYOUT), LAYOUT)
    counts = late.requests(0)
    answer(counts, 100)
    answer(frontend.versions[0], 1)
    frontend.does(loop_ns=100)
    frontend.work.share_out([*frontend.versions, counts])

    assert frontend.counted(0).loop_ns == 100
    assert late.read().work.loop_ns == 0


def test_a_thread_has_a_clock_of_its_own():
    """It goes on while the thread works, and stands while it waits."""
    go, stop = threading.Event(), threading.Event()

    def burn() -> None:
        go.wait()
        sum(range(2_000_000))
        stop.wait()

    thread = threading.Thread(target=burn)
    thread.start()
    clock = thread_clock(thread.ident)
    before = clock()
    go.set()
    while clock() - before < 1_000_000:
        pass
    stop.set()
    thread.join()


def test_connections_count_for_as_long_as_they_have_a_request():
    """Two of them, whatever else the process does."""

    class Pool:
        decoded, decoded_here, here_ns = 5, 7, 9

        def cpu_ns(self) -> int:
            return 0

    clocks = Clocks(Pool(), lambda: (2, 1))
    first, second = clocks.read(), clocks.read()

    assert second.connections_ns > first.connections_ns > 0
    assert second.untaken_ns == second.connections_ns // 2
    assert (second.pool_images, second.here_images, second.here_ns) == (5, 7, 9)
