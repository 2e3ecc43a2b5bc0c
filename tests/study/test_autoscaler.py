"""Autoscalers against steps that were calculated by hand."""

from __future__ import annotations

from study.autoscaler import (
    Horizontal,
    HorizontalAutoscaler,
    Knative,
    KnativeAutoscaler,
    Seen,
)


def knative(concurrencies, ready, target=10.0, **settings):
    """What Knative's wants, looking every 2 s at so many requests in flight."""
    autoscaler = KnativeAutoscaler(Knative(target, **settings))
    return [
        autoscaler.desired(2.0 * (step + 1), Seen(ready, ready, concurrency, 0.0))
        for step, concurrency in enumerate(concurrencies)
    ]


def test_knative_wants_concurrency_over_target_rounded_up():
    """95 in flight at 10 each: 10 pods."""
    assert knative([95.0], ready=8) == [10]


def test_knative_looks_at_a_minute():
    """30 looks: 29 at 100 and one at 160 are 102 on average, so 11 pods."""
    assert knative([100.0] * 29 + [160.0], ready=10)[-2:] == [10, 11]


def test_knative_panics_when_six_seconds_want_twice_what_is_ready():
    """Three looks of 6 s count: (100 + 100 + 400) / 3 = 200 is 20 pods for 10; then 300, 400."""
    wanted = knative([100.0] * 27 + [400.0] * 3, ready=10)

    assert wanted[26:] == [10, 20, 30, 40]


def test_knative_does_not_scale_down_in_panic():
    """For a minute after the last look over the threshold it keeps what it wanted."""
    wanted = knative([100.0] * 27 + [400.0] * 3 + [50.0] * 40, ready=10)

    over = 29 + 2  # the six seconds still hold enough of it for two looks
    assert wanted[over] == 40
    assert set(wanted[over : over + 29]) == {40}
    assert wanted[-1] < 20


def test_knative_halves_at_most():
    """max-scale-down-rate 2: of 10 pods 5 are left, whatever there is to do."""
    assert knative([1.0], ready=10) == [5]
    assert knative([1.0], ready=10, down=5.0) == [2]


def test_knative_keeps_its_least():
    """min-scale."""
    assert knative([0.0], ready=1) == [1]
    assert knative([0.0], ready=2, least=3) == [3]


def horizontal(looks, **settings):
    """What the horizontal one wants, looking every 15 s at (ready, wanted, load)."""
    autoscaler = HorizontalAutoscaler(Horizontal(0.5, **settings))
    return [
        autoscaler.desired(15.0 * (step + 1), Seen(ready, wanted, 0.0, load))
        for step, (ready, wanted, load) in enumerate(looks)
    ]


def test_horizontal_wants_pods_by_load_over_target():
    """10 pods at 0.7 where 0.5 is wanted: ceil(10 · 1.4) = 14."""
    assert horizontal([(10, 10, 0.7)]) == [14]


def test_horizontal_leaves_what_is_within_a_tenth():
    """0.54 and 0.46 of 0.5 are; 0.56 is not: ceil(10 · 1.12) = 12."""
    assert horizontal([(10, 10, 0.54), (10, 10, 0.46), (10, 10, 0.56)]) == [10, 10, 12]


def test_horizontal_doubles_at_most_or_adds_four():
    """20 pods at 5 times their target become 40; 2 become 6."""
    assert horizontal([(20, 20, 2.5)]) == [40]
    assert horizontal([(2, 2, 5.0)]) == [6]


def test_horizontal_reckons_pods_that_start_as_idle():
    """10 of 14 ready at 0.7: 0.7 · 10 / (0.5 · 14) = 1.0, so nothing is added again."""
    assert horizontal([(10, 14, 0.7)]) == [14]


def test_horizontal_scales_down_to_the_most_it_wanted_in_five_minutes():
    """20 looks of 15 s: the tenth wanted 8, so it is 8 until that is forgotten, then 4."""
    looks = [(10, 10, 0.5)] + [(10, 10, 0.4)] + [(10, 10, 0.2)] * 22

    wanted = horizontal(looks)

    assert wanted[:21] == [10] * 21  # the first look is 300 s old, and not older
    assert wanted[21] == 8
    assert wanted[22:] == [4, 4]


def test_horizontal_has_nothing_to_go_by_without_pods():
    """It keeps what it wanted."""
    assert horizontal([(0, 3, 0.0)]) == [3]
