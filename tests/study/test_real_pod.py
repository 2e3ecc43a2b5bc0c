"""A real pod of emulated devices, measured and simulated from one end to the other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from millrace.study import command
from study.bench import Bench
from study.errors import StudyError
from study.real_pod import PodOrder, real_pod
from study.scaling import measure_series
from study.tiny_package import NAME, SIDE, tiny_package
from tests.study.plain_load import plain_load


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """With a store that has the tiny package."""
    folder = tmp_path_factory.mktemp("study")
    tiny_package(folder)
    return folder


def test_one_and_two_devices_are_measured_beside_simulated_ones(folder):
    """Within a factor of two: how close they are is for measurements and not for tests."""
    said = []
    bench = Bench(plain_load, NAME, folder / "store", (SIDE, SIDE), 2, 1, 1.0, folder)

    series = measure_series(bench, 75.0, [1, 2], said.append)

    assert [row.devices for row in series.rows] == [1, 2]
    for row in series.rows:
        assert row.real is not None
        assert 0.5 < row.ratio < 2.0
        assert row.real.loaded.failed == 0
        assert row.real.batches.images > 0
        assert row.real.cores.busiest_frontend > 0
    assert series.calibration.loop_s > 0
    assert len(said) == 3


def test_the_command_prints_real_and_simulated_columns():
    """With the product's own load client and a package that it makes itself."""
    ran = CliRunner().invoke(
        command,
        [
            "scaling", "--counts", "1", "--device-rate", "75", "--images", "2",
            "--seconds", "1", "--decode-ms", "4", "--json",
        ],
    )  # fmt: skip

    assert ran.exit_code == 0, ran.output
    (row,) = json.loads(ran.stdout)["series"][0]["rows"]
    assert row["real"]["loaded"]["images_per_second"] > 0
    assert 0.5 < row["ratio"] < 2.0


def test_a_pod_that_cannot_start_is_told_with_its_log(folder):
    """Its reason is what the pod said."""
    order = PodOrder("nobody", folder / "store", ("emulated:5+1",), 1, 64, 4)

    with pytest.raises(StudyError, match="no model 'nobody'"), real_pod(order, folder / "log"):
        pass
