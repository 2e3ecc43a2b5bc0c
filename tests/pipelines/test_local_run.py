"""Whole runs of the pipeline here, as docs/pipeline.md has them: on a real pod that is asked."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from millrace.pipeline import by_environment
from model_store.registry.address import registry_uri

pytestmark = pytest.mark.timeout(600)  # a run is nine processes, each of which imports a lot


@pytest.fixture(scope="module")
def promoted(workshop):
    """The page's own command, with a network as good as the champion."""
    code, told, said = workshop.run()
    assert code == 0, (told, said)
    return told


def test_a_good_network_becomes_the_champion_and_has_all_of_the_traffic(workshop, promoted):
    """By number: pods, registry and MLflow's run say the same."""
    assert (promoted["outcome"], promoted["version"]) == ("promoted", "2")
    assert workshop.aliases == {"champion": "2", "previous": "1"}
    assert set(workshop.outcomes) == {200}
    tags = workshop.tags(promoted["mlflow_run"])
    assert tags["millrace.outcome"] == "promoted"
    assert tags["millrace.step.gate"] == "yes"
    (version,) = (one for one in workshop.registry.versions("colours") if one.version == "2")
    assert version.tags["millrace.pipeline"] == tags["millrace.pipeline"]
    assert version.tags["millrace.gate"] == "passed"
    assert version.tags["millrace.outcome"] == "promoted"


def test_its_steps_are_told_with_what_they_left(promoted):
    """In their order; KFP's artifacts are files here."""
    steps = {step["step"]: step for step in promoted["steps"]}
    assert list(steps) == [
        "pin", "package", "analyze", "gate", "register", "rollout", "promote", "conclude",
    ]  # fmt: skip
    assert all(step["state"] == "done" for step in steps.values())
    report = next(Path(file) for file in steps["analyze"]["files"] if file.endswith("report"))
    assert report.read_text("utf-8").startswith("<!doctype html>")
    (verdict,) = map(Path, steps["gate"]["files"])
    assert verdict.read_text("utf-8").startswith("# The gate says yes")
    (history,) = map(Path, steps["rollout"]["files"])
    assert "promoted" in history.read_text("utf-8")


def test_kfp_is_given_figures_a_confusion_matrix_and_the_versions_uri(promoted):
    """As its pages show them."""
    written = {
        output.parent.name: json.loads(output.read_text("utf-8"))["artifacts"]
        for output in Path(promoted["folder"]).glob("**/executor_output.json")
        if "artifacts" in json.loads(output.read_text("utf-8"))
    }
    analysis = {name: each["artifacts"][0] for name, each in written["analyze"].items()}
    assert analysis["figures"]["metadata"]["candidate/test/top1"] == 1
    matrix = analysis["confusion"]["metadata"]["confusionMatrix"]
    names = [each["displayName"] for each in matrix["annotationSpecs"]]
    assert names == ["red", "green", "blue"]
    assert [row["row"] for row in matrix["rows"]] == [[20, 0, 0], [0, 20, 0], [0, 0, 20]]
    registered = written["register"]["registered"]["artifacts"][0]
    assert registered["uri"] == "models:/colours/2"
    assert registered["metadata"]["version"] == "2"


def test_a_network_that_the_gate_stops_is_never_registered(workshop, promoted, tmp_path):
    """Exit code 1, a reason, and nothing has changed; what did not change is not packaged again."""
    (tmp_path / "package.yaml").write_text("scale: 1/255\nchannels: BGR\n")  # red is blue to it
    before = len(workshop.registry.versions("colours"))

    code, told, said = workshop.run("--package-config", str(tmp_path / "package.yaml"))

    assert code == 1, said
    assert told["outcome"] == "refused"
    assert told["why"].startswith("absolute.top1 of candidate on test: ")
    assert told["version"] == ""
    assert workshop.tags(told["mlflow_run"])["millrace.outcome"] == "refused"
    assert len(workshop.registry.versions("colours")) == before
    assert workshop.aliases == {"champion": "2", "previous": "1"}
    assert [step["step"] for step in told["steps"]] == [
        "pin", "package", "analyze", "gate", "conclude",
    ]  # fmt: skip


def test_a_run_that_cannot_begin_says_why_before_anything_is_made(workshop, promoted):
    """Exit code 2; only what pins and what concludes ran."""
    code, told, said = workshop.run("--dataset", "none.zip")

    assert code == 2, said
    assert told["outcome"] == "failed"
    assert "no dataset 'none.zip'" in told["why"]
    assert [step["step"] for step in told["steps"]] == ["pin", "conclude"]
    assert workshop.tags(told["mlflow_run"])["millrace.why"] == told["why"]


def test_people_get_a_table_of_the_steps_and_where_all_of_it_is(workshop):
    """What failed, and why, in the last lines."""
    with workshop.start("--dataset", "none.zip", form="") as process:
        assert process.stdout is not None
        said = workshop.follow(process)
        shown = process.stdout.read()
    assert process.returncode == 2, said
    assert "pin  failed no dataset 'none.zip'" in said
    assert "failed: no dataset 'none.zip'" in shown
    assert "failed, no version: pin: no dataset 'none.zip'" in shown
    assert f"at sqlite:///var/mlflow.db; files and log in {workshop.folder}/var/pipeline" in shown


@pytest.mark.parametrize("how", ["as a terminal sends Ctrl-C", "as a service manager ends it"])
def test_who_stops_a_rollout_has_the_candidate_taken_back(workshop, promoted, how):
    """Every process hears of Ctrl-C, SIGTERM comes to one; either way nothing is left."""
    before = len(workshop.registry.versions("colours"))
    with workshop.start() as process:

        def stop(line: str) -> None:
            if "step 1 of 2: 30 %: set" not in line:
                return
            if "terminal" in how:
                os.killpg(process.pid, signal.SIGINT)
            else:
                process.terminate()

        said = workshop.follow(process, stop)

    assert process.returncode == 130, said
    assert workshop.aliases == {"champion": "2", "previous": "1"}
    *others, newest = workshop.registry.versions("colours")
    assert len(others) == before
    assert newest.tags["millrace.rollout"].startswith("aborted: ")
    assert newest.tags["millrace.outcome"] == "aborted"
    number = newest.version
    index = httpx.get(f"{workshop.pod.url}/v2/models/colours/versions/{number}/ready")
    assert index.status_code == 404
    assert set(workshop.outcomes) == {200}


def test_credentials_of_the_registry_reach_steps_by_the_environment_alone(monkeypatch):
    """KFP writes parameters into its log and its files."""
    monkeypatch.setenv("MILLRACE_REGISTRY", "")
    uri = "postgresql://me:hidden@db/mlflow"
    assert by_environment(uri) == ""
    assert registry_uri("") == uri
    assert by_environment("sqlite:///var/mlflow.db") == "sqlite:///var/mlflow.db"
