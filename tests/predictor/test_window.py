"""What a pod did lately, on a clock of its own."""

from __future__ import annotations

from predictor.counts import Counts, StatisticsLayout
from predictor.statistics import Statistics
from predictor.window import BETWEEN_NS, EARLIER_NS, LATELY_NS, LONGEST_NS, TELLING, Window
from tests.predictor.test_statistics import answered

SECOND_NS = 1_000_000_000
LAYOUT = StatisticsLayout(frontends=1, instances=2, largest_batch=4)


class Pod:
    """Counts and a clock, moved by hand."""

    def __init__(self) -> None:
        self._statistics = Statistics(Statistics.create(LAYOUT), LAYOUT)
        self.now_ns = self.began_ns = self._statistics.read().began_ns
        self._instances = [self._statistics.batches(number) for number in (0, 1)]
        self._frontend = self._statistics.requests(0)
        self._instances[0].count(1, 0, 7, 0)  # what was before anybody looked

    def window(self) -> Window:
        """A window over these."""
        return Window(self._read, lambda: self.now_ns)

    def passes(self, seconds: float, *shares: float) -> None:
        """Time goes by, and each instance is busy for its share of it."""
        self.now_ns += int(seconds * SECOND_NS)
        for instance, share in zip(self._instances, shares, strict=True):
            instance.count(1, 0, int(share * seconds * SECOND_NS), 0)

    def answers(self, images: int) -> None:
        """Requests are answered."""
        for _ in range(images):
            self._frontend.count(answered(images=1, answered=1))

    def _read(self) -> Counts:
        return self._statistics.read()


def test_nothing_has_been_busy_at_first():
    """Without a single look."""
    assert Pod().window().busy_ratios() == [0.0, 0.0]


def test_each_instance_has_its_own_share():
    """From the start, while the window is not full yet."""
    pod = Pod()
    window = pod.window()
    pod.passes(4, 0.25, 1.0)
    window.sample()

    assert window.busy_ratios() == [0.25, 1.0]


def test_what_is_longer_ago_than_the_window_is_forgotten():
    """Ten idle seconds after ten busy ones are idle."""
    pod = Pod()
    window = pod.window()
    for share in (1.0, 0.0):
        for _ in range(10):
            pod.passes(LATELY_NS / SECOND_NS / 10, share, share)
            window.sample()

    assert window.busy_ratios() == [0.0, 0.0]


def test_a_batch_longer_than_the_window_is_not_more_than_all_of_it():
    """Its whole time is counted when it ends."""
    pod = Pod()
    window = pod.window()
    pod.passes(1, 30.0, 0.0)
    window.sample()

    assert window.busy_ratios() == [1.0, 0.0]


def test_the_counts_are_not_looked_at_more_often_than_once_a_second():
    """However often somebody asks for it: a look copies all of them."""
    pod = Pod()
    window = pod.window()
    pod.now_ns += BETWEEN_NS - 1
    pod.answers(3)
    window.sample()
    assert window.lately().counts.work.images == 0
    pod.now_ns += 1
    window.sample()

    assert window.lately().counts.work.images == 3
    assert window.lately().seconds == 1.0


def test_few_images_are_told_by_what_was_before_them():
    """What an image costs is known from when there were many, though the rate is of now."""
    pod = Pod()
    window = pod.window()
    pod.passes(1, 0.0, 0.0)
    pod.answers(TELLING)
    window.sample()
    for _ in range(20):  # then it gets quiet
        pod.passes(1, 0.0, 0.0)
        pod.answers(1)
        window.sample()

    assert window.lately().counts.work.images == 10
    assert window.telling().counts.work.images == TELLING + 20
    assert window.telling().seconds == 21.0


def test_what_was_long_ago_tells_nothing_any_more():
    """A pod that nobody asks, or hardly anybody, forgets what images cost."""
    pod = Pod()
    window = pod.window()
    pod.answers(TELLING)
    for _ in range((LONGEST_NS + 2 * EARLIER_NS) // SECOND_NS):
        pod.passes(1, 0.0, 0.0)
        window.sample()

    assert window.telling().counts.work.images == 0
    assert window.telling().seconds < (LONGEST_NS + 2 * EARLIER_NS) / SECOND_NS


def test_what_was_before_a_frontend_began_may_be_too_long_ago():
    """A pod that was quiet for a day has one started again."""
    pod = Pod()
    pod.answers(TELLING)
    pod.passes(86_400, 0.0, 0.0)
    window = pod.window()

    assert window.telling().counts.work.images == 0


def test_it_is_not_looked_further_back_than_is_needed():
    """At six images a second a minute or two are enough, whatever was before."""
    pod = Pod()
    window = pod.window()
    for _ in range(300):
        pod.passes(1, 0.0, 0.0)
        pod.answers(6)
        window.sample()

    assert TELLING <= window.telling().counts.work.images <= 6 * 130


def test_a_frontend_that_begins_later_knows_what_was_counted_before():
    """Its predecessor may have been killed, and nobody asks at the moment."""
    pod = Pod()
    pod.answers(7)
    pod.passes(30, 0.0, 0.0)
    window = pod.window()

    assert window.lately().counts.work.images == 0
    assert window.telling().counts.work.images == 7
    assert window.telling().seconds == 30.0


def test_many_images_tell_all_by_themselves():
    """What was before them may have cost otherwise."""
    pod = Pod()
    window = pod.window()
    for _ in range(30):
        pod.passes(1, 0.0, 0.0)
        pod.answers(TELLING)
        window.sample()

    assert window.telling().seconds == 10.0
    assert window.telling().counts.work.images == 10 * TELLING
