"""What a scaling study makes of what was measured and simulated."""

from __future__ import annotations

import csv
import io
import json
import math

import pytest

from predictor.types import BatchCost
from study.bench import Bench, Cores, Seen
from study.calibration import Calibration, predict
from study.chart import draw_scaling
from study.cluster import Outcome
from study.device import Device
from study.findings import failures, findings
from study.load import Loaded
from study.real_pod import Batches
from study.scaling import PodRow, Row, Series
from study.scaling_report import COLUMNS, Scaling
from study.scaling_tables import tables
from study.shape import PodShape

DEVICE = Device.of_rate(1200.0)
CALIBRATION = Calibration(DEVICE.cost, 0.001, 0.0005, 0.00006, "frontends", 4.0)


def outcome(rate):
    """A simulated pod that gave so much."""
    return Outcome(rate, rate, {}, (0.1, 0.2), 1.0, 64.0)


def seen(rate, busiest=0.2, machine=0.5):
    """A real pod that gave so much."""
    loaded = Loaded(rate, 0, 0.1, 0.1, 0.2)
    cores = Cores(busiest, busiest, 0.1, 0.1, machine, 2)
    return Seen(loaded, Batches(10, 640, 0.5), 5.0, cores, 4.0)


@pytest.mark.parametrize(
    ("row", "limit", "agrees"),
    [
        (Row(2, 2400.0, seen(2350.0), outcome(2340.0)), "devices", True),
        (Row(2, 2400.0, seen(2350.0, machine=1.95), outcome(2340.0)), "devices", True),
        (Row(2, 2400.0, seen(2000.0), outcome(2340.0)), "neither alone", False),
        (Row(16, 19200.0, seen(10000.0, 0.9), outcome(18000.0)), "frontends", None),
        (Row(16, 19200.0, seen(10000.0, 1.7, 1.95), outcome(18000.0)), "cores", None),
        (
            Row(16, 19200.0, seen(10000.0, 0.7, 1.95), outcome(18000.0)),
            "cores (others use them)",
            None,
        ),
        (Row(24, 28800.0, None, outcome(18000.0)), "not run: beyond these cores", None),
    ],
)
def test_a_row_says_what_limited_it_and_whether_it_can_be_compared(row, limit, agrees):
    """Where cores are the limit a comparison says nothing of the simulator."""
    assert row.limit == limit
    assert row.agrees is agrees


def scaling():
    """Two series and two rows of pods."""
    rows = (
        Row(1, 1200.0, seen(1180.0), outcome(1170.0)),
        Row(2, 2400.0, seen(2350.0), outcome(2340.0)),
        Row(4, 4800.0, None, outcome(4680.0)),
    )
    series = Series(DEVICE, CALIBRATION, rows)
    pods = (PodRow(1, outcome(1170.0), 1.0), PodRow(24, outcome(28000.0), 0.997))
    return Scaling((series,), PodShape(DEVICE), "least_request", pods)


def test_the_csv_has_a_line_for_each_row_and_nothing_where_there_is_nothing():
    """Efficiency is of so many times the first row."""
    lines = list(csv.DictReader(io.StringIO(scaling().as_csv())))

    assert [(line["kind"], line["count"]) for line in lines] == [
        ("devices", "1"),
        ("devices", "2"),
        ("devices", "4"),
        ("pods", "1"),
        ("pods", "24"),
    ]
    assert float(lines[1]["efficiency"]) == pytest.approx(2350 / 2360)
    assert lines[2]["real_images_per_second"] == ""
    assert set(lines[0]) == set(COLUMNS)


def test_the_json_can_be_read_and_says_what_was_wanted():
    """Without every single latency."""
    content = json.loads(json.dumps(scaling().as_dict()))

    assert content["series"][0]["rows"][1]["simulated"]["latencies_s"] == []
    assert [finding["holds"] for finding in content["findings"]] == [True, True]
    compared = [row["compared"] for row in content["series"][0]["rows"]]
    assert compared == ["yes", "yes", "no: not run, since these cores did not carry the row before"]


def test_a_finding_that_does_not_hold_is_said():
    """One row that is more than 5 % apart is enough."""
    rows = (
        Row(1, 1200.0, seen(1180.0), outcome(1170.0)),
        Row(2, 2400.0, seen(2000.0), outcome(2340.0)),
    )
    found = Scaling((Series(DEVICE, CALIBRATION, rows),), PodShape(DEVICE), "random", ())

    agreement, efficiency = found.findings
    assert agreement.reached == "1 of 2 rows, at most 14.5% apart"
    assert failures(found.findings) == (f"{agreement.wanted}: {agreement.reached}",)
    assert efficiency.holds is None


FAST = Row(24, 28_800.0, seen(23_486.0, 0.83), outcome(27_609.0))
PODS = (PodRow(1, outcome(1170.0), 1.0), PodRow(24, outcome(28_000.0), 0.997))


def series_of(*rows):
    """Of 1,200 images/s a device."""
    return (Series(DEVICE, CALIBRATION, rows),)


def test_rows_that_cannot_be_compared_are_told_with_how_far_apart_they_are():
    """24 fast devices are more than a frontend can feed: no reason to keep silent about them."""
    agreeing = Row(1, 1200.0, seen(1180.0), outcome(1170.0))

    agreement, _ = findings(series_of(agreeing, FAST), PODS)

    assert agreement.holds
    assert agreement.reached == (
        "1 of 1 rows, at most 0.9% apart; "
        "not compared: 1 a frontend has no more of its core to give, up to 14.9% apart"
    )


def test_a_check_fails_where_no_row_can_be_compared():
    """Whatever else holds: that nothing contradicts it is no agreement."""
    found = findings(series_of(FAST), PODS)

    (failure,) = failures(found)
    assert "no row can be compared (1 a frontend has no more of its core to give" in failure


def test_the_goal_for_24_pods_is_for_24_pods():
    """Not for the last of any number; where it is not checked nobody says that it holds."""
    agreeing = series_of(Row(1, 1200.0, seen(1180.0), outcome(1170.0)))
    other = (*PODS, PodRow(48, outcome(40_000.0), 0.7))

    _, with_24 = findings(agreeing, other)
    _, without = findings(agreeing, PODS[:1])

    assert (with_24.holds, with_24.reached) == (True, "99.70%")
    assert (without.holds, without.verdict) == (None, "not checked")
    assert failures(findings(agreeing, PODS[:1])) == ()


def test_a_check_of_nothing_fails():
    """No real pod and no 24 simulated ones."""
    (failure,) = failures(findings((), PODS[:1]))

    assert failure.startswith("nothing was checked: ")


def test_tables_and_chart_are_drawn_of_it(tmp_path):
    """One table for the series, one for the pods, one for what was wanted."""
    pytest.importorskip("matplotlib")
    draw_scaling(scaling(), tmp_path / "chart.svg")

    assert [table.row_count for table in tables(scaling())] == [3, 2, 2]
    assert "<svg" in (tmp_path / "chart.svg").read_text(encoding="utf-8")


def test_the_simulator_is_told_what_was_calibrated(tmp_path):
    """One device: a batch of 64 in its time and handling; many: what one frontend can do."""
    bench = Bench(lambda _: None, "tiny", tmp_path, (32, 32), 16, 1, 1.0, tmp_path)

    one = predict(CALIBRATION, bench, DEVICE, 1)
    many = predict(CALIBRATION, bench, DEVICE, 24)

    assert one.computed_per_second == pytest.approx(64 / (64 / 1200 + 0.001), rel=0.005)
    assert many.computed_per_second == pytest.approx(1 / 0.00006, rel=0.02)


@pytest.mark.parametrize("rate", [30.0, 75.0, 150.0, 1200.0, 60_000.0])
def test_a_device_gives_its_rate_in_full_batches(rate):
    """At any rate; slow ones have small batches."""
    device = Device.of_rate(rate)

    assert device.batch / device.cost.seconds(device.batch) == pytest.approx(rate)
    assert 1 <= device.batch <= 64


def test_a_pod_is_limited_by_its_slowest_stage():
    """As docs/architecture.md defines capacities."""
    shape = PodShape(DEVICE, cores=8, decode_s=0.007, loop_s=0.0005, handling_s=0.0)

    assert shape.bottleneck == "decode"
    assert shape.capacities == pytest.approx({"receive": 2000, "decode": 1000, "infer": 1200})
    assert math.isinf(PodShape(DEVICE, decode_s=0.0).capacities["decode"])
    assert PodShape(DEVICE).pod.costs == (BatchCost(64 * 0.4 / 1200, 0.6 / 1200, 64),)
