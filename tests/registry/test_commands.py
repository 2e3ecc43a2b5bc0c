"""``millrace models`` with a registry, as a user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner, Result

from millrace import classify, models, package
from model_store.errors import RegistryError, SourceError, UngatedError
from model_store.package import read_manifest
from model_store.registry.versions import Registry
from tests.conftest import colour_image, colour_network


@pytest.fixture(autouse=True)
def _where(registry_server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry_server.uri)


def run(*arguments: object, command: object = models.command) -> Result:
    """The command's result; what it refuses is raised."""
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def told(*arguments: object) -> object:
    """What the command prints as JSON."""
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def two(colours, name):
    """Two versions, by the command."""
    for _ in range(2):
        run("register", colours.path, "--as", name)
    return name


def test_a_package_is_registered_and_listed(colours, name):
    """By its path; with the gate's result and an alias."""
    gate = ("--gate", "passed=true", "--gate", "accuracy=0.98")
    made = told("register", colours.path, "--as", name, "--alias", "champion", *gate)

    assert made["uri"] == f"models:/{name}/1"
    assert made["aliases"] == ["champion"]
    assert made["tags"]["millrace.gate"] == "passed"
    assert made["tags"]["millrace.gate.accuracy"] == "0.98"
    (row,) = (row for row in told("list", "--registry") if row["name"] == name)
    assert row == made
    line = next(x for x in run("list", "--registry").stdout.splitlines() if name in x)
    assert line.split()[:5] == [name, "1", "champion", "fp32", "passed"]


def test_a_package_is_registered_by_its_name_in_the_store(colours):
    """Under that name."""
    made = told("register", "colours", "--store", colours.path.parents[1])

    assert made["name"] == "colours"


def test_a_gate_in_a_file_that_said_no_keeps_the_version_from_being_promoted(
    colours, name, tmp_path
):
    """Exit code 1, as for every answer that is no; unless somebody insists."""
    (tmp_path / "gate.json").write_text('{"passed": false, "p99_ms": 12.5}', encoding="utf-8")
    made = told("register", colours.path, "--as", name, "--gate", tmp_path / "gate.json")
    assert made["tags"]["millrace.gate.p99_ms"] == "12.5"

    with pytest.raises(UngatedError, match="did not pass its gate"):
        run("promote", name, 1)
    ran = subprocess.run(
        [sys.executable, "-m", "millrace", "models", "promote", name, "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert told("promote", name, 1, "--force")["version"] == "1"


@pytest.mark.parametrize("gate", ["no such file", "passed=perhaps"])
def test_a_gate_that_says_nothing_is_refused(gate, colours, name):
    """Before anything is registered."""
    with pytest.raises(SourceError, match="gate: "):
        run("register", colours.path, "--as", name, "--gate", gate)


def test_aliases_go_there_and_back(two):
    """Promote, roll back, and whatever alias there is besides."""
    assert run("promote", two, 1).stdout == f"{two}@champion: version 1\n"
    assert run("promote", two, 2).stdout == f"{two}@champion: version 2; it was version 1\n"
    assert run("promote", two, 2).stdout == f"{two}@champion: version 2, as before\n"
    assert told("rollback", two) == {
        "name": two,
        "alias": "champion",
        "version": "1",
        "before": "2",
    }
    with pytest.raises(RegistryError, match="nothing to go back to"):
        run("rollback", two)
    assert told("alias", two, "shadow", "2")["version"] == "2"
    assert (
        run("alias", two, "shadow", "--delete").stdout == f"{two}@shadow: gone; it was version 2\n"
    )
    assert run("alias", two, "shadow").exit_code == 2


def test_an_alias_is_no_way_around_the_gate(colours, name):
    """Unless somebody insists."""
    run("register", colours.path, "--as", name, "--gate", "passed=false")

    with pytest.raises(UngatedError, match="did not pass its gate"):
        run("alias", name, "champion", "1")
    assert told("alias", name, "champion", "1", "--force")["version"] == "1"


def test_what_is_registered_already_is_not_registered_again(two):
    """One line says what to do instead."""
    with pytest.raises(RegistryError, match=f"models:/{two}/1 is registered already"):
        run("register", f"models:/{two}/1", "--as", "another")


def test_a_registered_version_is_shown_without_being_fetched(two, colours):
    """Its manifest, by the registry's name, and what the registry says of it."""
    run("promote", two, 2)

    shown = told("show", f"models:/{two}@champion")

    assert (shown["name"], shown["version"], shown["classes"]) == (two, 2, 3)
    assert shown["registered"]["aliases"] == ["champion"]
    assert shown["registered"]["uri"] == f"models:/{two}/2"
    assert "registered:" in run("show", f"models:/{two}/1").stdout


def test_a_registered_version_is_verified_and_classifies(two, tmp_path):
    """Fetched into the cache, with its golden images."""
    cache = ("--cache", tmp_path / "cache")

    (verified,) = told("verify", f"models:/{two}/1", *cache)

    assert (verified["ok"], verified["cached_copy"]) == (True, True)
    line = run("verify", f"models:/{two}/1", *cache).stdout
    assert line == f"{verified['path']}, the cached copy: ok\n"
    assert Path(verified["path"]).is_relative_to(tmp_path / "cache")
    (tmp_path / "green.jpg").write_bytes(colour_image("green"))
    os.environ["MILLRACE_CACHE"] = str(tmp_path / "cache")
    try:
        arguments = (tmp_path / "green.jpg", "--model", f"models:/{two}/1", "--json")
        answer = json.loads(run(*arguments, command=classify.command).stdout)
    finally:
        del os.environ["MILLRACE_CACHE"]
    assert answer["top"][0]["label"] == "green"


def test_the_embedded_registry_is_made_where_one_registers(colours, tmp_path):
    """sqlite:///var/mlflow.db and var/artifacts; nothing but the answer is printed."""
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}

    def millrace(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "millrace", "models", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )

    missing = millrace("list", "--registry")
    assert missing.returncode == 2
    assert "no registry at sqlite:///var/mlflow.db yet" in missing.stderr

    ran = millrace("register", colours.path, "--alias", "champion")

    assert (ran.stdout, ran.stderr) == (
        "colours version 1, @champion: models:/colours/1\n",
        "",
    )
    assert sorted(path.name for path in (tmp_path / "var").iterdir()) == ["artifacts", "mlflow.db"]
    verified = millrace("verify", "models:/colours@champion")
    assert verified.stdout.endswith(": ok\n"), verified.stderr


def test_packaging_looks_for_a_registered_model_in_the_registry(colours):
    """SOURCE may be a URI; what there is not is said as everywhere."""
    images = colours.path / "golden"
    labels = colours.path / "labels.txt"
    flags = ("--name", "x", "--labels", labels, "--parity-images", images)

    with pytest.raises(RegistryError, match="no models:/nobody-has-this/1: the registry"):
        run("models:/nobody-has-this/1", *flags, command=package.command)


@pytest.fixture
def logged(name, tmp_path, registry_server):
    """An MLflow model of the onnx flavor that is no package, with an alias; its run."""
    folder = tmp_path / "logged"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors:\n  onnx: {data: model.onnx}\n", encoding="utf-8")
    onnx.save_model(colour_network(), str(folder / "model.onnx"))
    client = Registry(registry_server.uri).client
    run = client.create_run(client.create_experiment(f"of-{name}")).info
    client.log_artifacts(run.run_id, str(folder), "model")
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.artifact_uri}/model", run.run_id)
    client.set_registered_model_alias(name, "new", "1")
    return run.run_id


def test_packaging_a_registered_model_takes_its_settings_and_names_its_origin(
    logged, name, colours, registry_server, tmp_path, monkeypatch
):
    """The registry by a flag, the cache by its variable; a dry run leaves nothing at all."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MILLRACE_CACHE", str(tmp_path / "here" / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    flags: tuple[object, ...] = (
        *("--name", "x", "--labels", colours.path / "labels.txt"),
        *("--parity-images", colours.path / "golden", "--registry", registry_server.uri),
        *("--scale", "1/255", "--store", tmp_path / "here" / "store"),
    )

    dry = run(f"models:/{name}@new", *flags, "--dry-run", command=package.command)
    assert dry.exit_code == 0, dry.output
    assert list((tmp_path / "here").iterdir()) == []

    made = run(f"models:/{name}@new", *flags, "--json", command=package.command)
    manifest = read_manifest(Path(json.loads(made.stdout)["path"]))
    assert manifest.provenance.source == f"models:/{name}/1 of runs:/{logged} model.onnx"
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == ["cache", "store"]


def test_without_mlflow_the_extra_is_named(tmp_path):
    """One line, exit code 2; commands on the store need none of it."""
    hidden = "import sys; sys.modules['mlflow'] = None; from millrace.cli import main; main()"

    def millrace(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", hidden, "models", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    ran = millrace("promote", "digits", "1")
    (line,) = ran.stderr.splitlines()
    assert (ran.returncode, "pip install 'millrace[registry]'" in line) == (2, True)
    assert millrace("list").returncode == 0
