"""A real pod of emulated devices, measured and simulated from one end to the other."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from millrace.study import command
from study.errors import StudyError
from study.real_pod import PodOrder, real_pod
from study.tiny_package import tiny_package
from study.workplace import workplace

RATE = 75.0
EDGE = 1.25  # a window of 0.8 s cuts batches of 53 ms at both ends


def test_one_and_two_devices_are_measured_beside_simulated_ones():
    """Neither can do more than its devices; how close they are is for measurements."""
    ran = CliRunner().invoke(
        command,
        [
            "scaling", "--counts", "1,2", "--device-rate", f"{RATE}", "--images", "1",
            "--seconds", "0.8", "--decode-ms", "4", "--beyond", "--csv",
        ],
    )  # fmt: skip

    assert ran.exit_code == 0, ran.output
    lines = [line for line in csv.DictReader(io.StringIO(ran.stdout)) if line["kind"] == "devices"]
    assert [line["count"] for line in lines] == ["1", "2"]
    for line in lines:
        real, simulated = (
            float(line[f"{what}_images_per_second"]) for what in ("real", "simulated")
        )
        ideal = int(line["count"]) * RATE
        assert float(line["ideal_images_per_second"]) == ideal
        assert 0 < real <= EDGE * ideal
        assert 0 < simulated <= EDGE * ideal
        assert float(line["ratio"]) == pytest.approx(real / simulated)
        assert float(line["busiest_frontend_cores"]) > 0
        assert 0 < float(line["machine_cores"]) <= psutil.cpu_count() + 0.1


def test_a_pod_that_cannot_start_is_told_with_its_log(tmp_path):
    """Its reason is what the pod said."""
    order = PodOrder("nobody", tmp_path / "store", ("emulated:5+1",), 1, 64, 4)

    with pytest.raises(StudyError, match="no model 'nobody'"), real_pod(order, tmp_path / "log"):
        pass


def test_a_log_that_an_error_names_is_still_there():
    """What else was in the folder is not."""

    def fail() -> None:
        with workplace() as folder:
            (folder / "store").mkdir()
            order = PodOrder("nobody", folder / "store", ("emulated:5+1",), 1, 64, 4)
            with real_pod(order, folder / "pod.log"):
                pass

    with pytest.raises(StudyError, match="the whole log: ") as raised:
        fail()

    log = Path(str(raised.value).rpartition("the whole log: ")[2].rstrip(")"))
    assert "no model 'nobody'" in log.read_text(encoding="utf-8")
    assert [entry.name for entry in log.parent.iterdir()] == ["pod.log"]
    log.unlink()
    log.parent.rmdir()


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, StudyError("no pod was started")])
def test_a_folder_without_logs_is_gone_afterwards(error):
    """However it ends."""
    folders = []
    try:
        with workplace() as folder:
            folders.append(folder)
            (folder / "file").touch()
            if error is not None:
                raise error
    except (KeyboardInterrupt, StudyError):
        pass

    assert not folders[0].exists()


STUDY = """
import sys
from pathlib import Path
from study.real_pod import PodOrder, real_pod

store, log = map(Path, sys.argv[1:])
with real_pod(PodOrder("tiny", store, ("emulated:5+1",), 1, 64, 4), log) as pod:
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_pod_ends_with_the_study_that_is_killed(tmp_path):
    """Which had no time to stop it."""
    package = tiny_package(tmp_path)
    arguments = [sys.executable, "-c", STUDY, package.path.parents[1], tmp_path / "log"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as study:
        assert study.stdout.readline() == b"ready\n"
        family = psutil.Process(study.pid).children(recursive=True)
        study.kill()

    assert len(family) >= 3  # a supervisor, a frontend, an instance
    _, left = psutil.wait_procs(family, timeout=60)
    for process in left:
        process.kill()
    assert left == []
