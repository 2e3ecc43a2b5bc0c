"""MLPerf's own LoadGen, sending through this client to a real server."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

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
    assert verdict.samples == verdict.judged == verdict.right == len(server.asked) > 0
    assert verdict.failed == {}
    assert (tmp_path / SUMMARY).is_file()


def test_a_run_of_enough_queries_is_valid_by_loadgens_rules(tmp_path):
    """Single-stream has no latency to hold: a hundred queries are enough for its percentile.

    Answers take longer than LoadGen expects (0.5 ms), else it has too few queries for the time.
    """
    with http_server(lambda _: Reply(delay_s=0.003)) as server:
        verdict = run_scene(plan(server), Scene("single-stream", tmp_path, min_queries=100))

    assert verdict.summary["Result is"] == "VALID"
    assert verdict.valid


def test_a_latency_that_is_not_held_makes_a_run_invalid(tmp_path):
    """A microsecond."""
    with http_server() as server:
        scene = Scene("server", tmp_path, 50, Limit("p90", 1), min_queries=20)
        verdict = run_scene(plan(server), scene)

    assert verdict.summary["Result is"] == "INVALID"
    assert not verdict.valid


def test_offline_sends_as_many_at_a_time_as_it_is_told(tmp_path):
    """And refuses what there are no connections for, rather than to let samples wait for them."""
    with http_server(lambda _: Reply(delay_s=0.05)) as server:
        scene = Scene("offline", tmp_path, 50, concurrency=3)
        verdict = run_scene(plan(server), scene)
        with pytest.raises(LoadError, match="needs 3 connections"):
            run_scene(replace(plan(server), connections=2), scene)

    assert verdict.samples > 3
    assert len({asked.connection for asked in server.asked}) == 3


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
    with http_server(lambda _: Reply(delay_s=0.003)) as server:
        command = [sys.executable, "-m", "millrace", "load", tmp_path / "a.jpg"]
        where = ["--endpoint", f"http://127.0.0.1:{server.port}", "--mlperf-out", tmp_path / "out"]
        flags = ["--scenario", "single-stream", "--duration", "0.5", "--json", tmp_path / "v.json"]
        ran = subprocess.run(
            [*command, *where, *flags], capture_output=True, text=True, check=False
        )

    content = json.loads((tmp_path / "v.json").read_text())
    assert "MLPerf Results Summary" in ran.stdout
    assert "Scenario : SingleStream" in ran.stdout
    assert content["valid"]
    assert ran.returncode == 0, ran.stderr
    assert content["samples"] == len(server.asked)
