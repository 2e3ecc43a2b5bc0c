"""What is said alike to every benchmark."""

import importlib

import pytest
from click.testing import CliRunner

THAT_WRITE = ("__main__", "client", "devices", "faults", "overload", "stages")


@pytest.mark.parametrize("name", [*THAT_WRITE, "wire"])
def test_the_environment_says_where_the_assets_are(name, monkeypatch, tmp_path):
    """One that is not there is refused before anything is measured."""
    missing = tmp_path / "missing"
    monkeypatch.setenv("MILLRACE_TEST_ASSETS", str(missing))

    ran = CliRunner().invoke(importlib.import_module(f"benchmarks.{name}").main)

    assert ran.exit_code == 2
    assert f"'{missing}' does not exist" in " ".join(ran.output.split())


@pytest.mark.parametrize("name", THAT_WRITE)
def test_results_are_renewed_only_on_demand(name, tmp_path):
    """By one flag, which is off."""
    command = importlib.import_module(f"benchmarks.{name}").main
    assets = ["--assets", str(tmp_path)]

    wishes = [
        command.make_context(name, [*assets, *flags]).params["write"] for flags in ([], ["--write"])
    ]

    assert wishes == [False, True]
