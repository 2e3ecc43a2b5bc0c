"""The busy ratio over a window, on a clock of its own."""

from __future__ import annotations

from predictor.busy import WINDOW_NS, BusyWindow

SECOND_NS = 1_000_000_000


class Instances:
    """Busy counts and a clock, moved by hand."""

    def __init__(self) -> None:
        self.now_ns = 5
        self.busy_ns = [7, 0]

    def passes(self, seconds: float, *shares: float) -> None:
        """Time goes by, and each instance is busy for its share of it."""
        self.now_ns += int(seconds * SECOND_NS)
        self.busy_ns = [
            busy + int(share * seconds * SECOND_NS)
            for busy, share in zip(self.busy_ns, shares, strict=True)
        ]

    def window(self) -> BusyWindow:
        """A window over these."""
        return BusyWindow(lambda: list(self.busy_ns), lambda: self.now_ns)


def test_nothing_has_been_busy_at_first():
    """Without a single sample."""
    assert Instances().window().ratios() == [0.0, 0.0]


def test_each_instance_has_its_own_share():
    """From the start, while the window is not full yet."""
    instances = Instances()
    window = instances.window()
    instances.passes(4, 0.25, 1.0)
    window.sample()

    assert window.ratios() == [0.25, 1.0]


def test_what_is_longer_ago_than_the_window_is_forgotten():
    """Ten idle seconds after ten busy ones are idle."""
    instances = Instances()
    window = instances.window()
    for share in (1.0, 0.0):
        for _ in range(10):
            instances.passes(WINDOW_NS / SECOND_NS / 10, share, share)
            window.sample()

    assert window.ratios() == [0.0, 0.0]


def test_a_batch_longer_than_the_window_is_not_more_than_all_of_it():
    """It is counted when it ends."""
    instances = Instances()
    window = instances.window()
    instances.passes(1, 30.0, 0.0)
    window.sample()

    assert window.ratios() == [1.0, 0.0]
