"""A real pod of emulated devices, measured and simulated from one end to the other."""

from __future__ import annotations

import csv
import io

import pytest
from click.testing import CliRunner

from millrace.study import command
from study.errors import StudyError
from study.real_pod import PodOrder, real_pod


def test_one_and_two_devices_are_measured_beside_simulated_ones():
    """Within a factor of two: how close they are is for measurements and not for tests."""
    ran = CliRunner().invoke(
        command,
        [
            "scaling", "--counts", "1,2", "--device-rate", "75", "--images", "2",
            "--seconds", "0.8", "--decode-ms", "4", "--csv",
        ],
    )  # fmt: skip

    assert ran.exit_code == 0, ran.output
    lines = [line for line in csv.DictReader(io.StringIO(ran.stdout)) if line["kind"] == "devices"]
    assert [line["count"] for line in lines] == ["1", "2"]
    for line in lines:
        assert float(line["real_images_per_second"]) > 0
        assert float(line["simulated_images_per_second"]) > 0
        assert 0.5 < float(line["ratio"]) < 2.0
        assert float(line["busiest_frontend_cores"]) >= 0


def test_a_pod_that_cannot_start_is_told_with_its_log(tmp_path):
    """Its reason is what the pod said."""
    order = PodOrder("nobody", tmp_path / "store", ("emulated:5+1",), 1, 64, 4)

    with pytest.raises(StudyError, match="no model 'nobody'"), real_pod(order, tmp_path / "log"):
        pass
