"""MLPerf's own LoadGen, sending through this client to a real server."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from loadgen.errors import LoadError
from loadgen.images import Image, Right
from loadgen.mlperf import SCENARIOS, SUMMARY, Scene, run_scene
from loadgen.plan import Closed, Plan
from loadgen.slo import Limit
from tests.loadgen.server import HttpServer, Reply, http_server

pytest.importorskip("mlperf_loadgen")

IMAGES = tuple(Image(name, b"x", Right(frozenset({3}))) for name in ("cat", "tom"))


def plan(server: HttpServer) -> Plan:
    """Short."""
    where = (f"http://127.0.0.1:{server.port}",)
    return Plan(where, IMAGES, Closed(4), duration_s=0.3, timeout_s=10)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_runs_and_leaves_its_summary(scenario, tmp_path):
    """All its samples are sent once, and answered."""
    with http_server(lambda _: Reply(delay_s=0.002)) as server:
        scene = Scene(
            scenario, tmp_path, 50, Limit("p90", 1_000_000), samples_per_query=3, min_queries=5
        )
        verdict = run_scene(plan(server), scene)

    assert verdict.summary["Scenario"].replace(" ", "").lower() == scenario.replace("-", "")
    assert verdict.summary["Result is"] in ("VALID", "INVALID")
    assert verdict.samples == verdict.judged == verdict.right == len(server.asked) > 0
    assert verdict.failed == {}
    assert (tmp_path / SUMMARY).is_file()


def test_failed_samples_make_a_run_invalid(tmp_path):
    """LoadGen cannot see them: it counts answers."""
    with http_server(lambda asked: Reply(503 if asked.count == 3 else 200)) as server:
        verdict = run_scene(plan(server), Scene("single-stream", tmp_path, min_queries=20))

    assert verdict.failed == {"503": 1}
    assert not verdict.valid


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (("server", None, Limit("p99", 1000)), "--rate"),
        (("offline", None, None), "--rate"),
        (("server", 50, None), "--slo p99=100ms"),
        (("server", 50, Limit("mean", 1000)), "holds a percentile"),
    ],
)
def test_a_scene_that_lacks_something_is_refused(scene, reason, tmp_path):
    """With the flag that gives it."""
    scenario, rate, limit = scene

    with http_server() as server, pytest.raises(LoadError, match=reason):
        run_scene(plan(server), Scene(scenario, tmp_path, rate, limit))


def test_the_command_prints_loadgens_summary(tmp_path):
    """And exits by its verdict."""
    (tmp_path / "a.jpg").write_bytes(b"x")
    with http_server() as server:
        command = [sys.executable, "-m", "millrace", "load", tmp_path / "a.jpg"]
        where = ["--endpoint", f"http://127.0.0.1:{server.port}", "--mlperf-out", tmp_path / "out"]
        flags = ["--scenario", "single-stream", "--duration", "0.5", "--json", tmp_path / "v.json"]
        ran = subprocess.run(
            [*command, *where, *flags], capture_output=True, text=True, check=False
        )

    content = json.loads((tmp_path / "v.json").read_text())
    assert "MLPerf Results Summary" in ran.stdout
    assert "Scenario : SingleStream" in ran.stdout
    assert ran.returncode == (0 if content["valid"] else 1), ran.stderr
    assert content["samples"] == len(server.asked)
