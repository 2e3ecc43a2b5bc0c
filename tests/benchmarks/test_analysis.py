"""The analyzer beside the bare loop: what the page says of rounds."""

from analyzer.result import Rate
from benchmarks.analysis import Compared, Page, markdown


def compared(**changes):
    """Two rounds, the second on a machine half as fast."""
    given = {
        "name": "net", "images": 1000, "bare": (200.0, 100.0), "classified": (190.0, 95.0),
        "top1": Rate(count=915, of=1000, rate=0.915, low=0.9, high=0.93),
        "page": Page(bytes=9_000_000, ready_s=0.8),
        "whole": (100.0, 50.0), "bare_cpu_s": (0.01, 0.01), "own_cpu_s": (0.0104, 0.0104),
    }  # fmt: skip
    return Compared(**{**given, **changes})


def test_ratios_are_taken_within_a_round():
    """So that a machine that slows down between rounds does not count."""
    lines = markdown([compared()])

    assert "| net | 1,000 | 0.915 | 150 | 142 | 0.95 | 0.96 | 75 | 0.50 |" in lines
    assert (
        "| net: classifying 1,000 images ≥ 0.9 of the bare loop | 0.95; by CPU time 0.96 |" in lines
    )


def test_a_rate_won_from_others_is_not_enough():
    """More threads get more of a busy machine; CPU time tells."""
    assert any("**not reached**" in line for line in markdown([compared(own_cpu_s=(0.02, 0.02))]))
    assert any("**not reached**" in line for line in markdown([compared(classified=(90.0, 50.0))]))


def test_a_page_that_opens_late_or_is_large_is_told():
    """Where there is a browser to open it; without one nothing is claimed."""
    late = markdown([compared(page=Page(bytes=9_000_000, ready_s=2.5))])
    large = markdown([compared(page=Page(bytes=16_000_000, ready_s=0.8))])

    assert any(
        "opens in < 2 s and has < 15 MB | 0.80 s, 9.0 MB |" in x for x in markdown([compared()])
    )
    assert any("**not reached**" in line for line in late)
    assert any("**not reached**" in line for line in large)
    assert not any("opens in" in line for line in markdown([compared(page=Page(1, None))]))
