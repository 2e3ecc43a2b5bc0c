"""docs/rollout.md: its plans are plans, its tables are complete, its commands do what it says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest
import yaml

from model_store.registry.cache import Cache
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from rollout.local_store import from_registry, put
from rollout.plan import Limits, Plan, parse_plan
from rollout.types import Version
from tests.analyzer.colour_sets import files, write_folder
from tests.conftest import colour_image
from tests.end_to_end.conftest import TOKEN, Pod
from tests.end_to_end.load import Load

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "rollout.md").read_text(encoding="utf-8")
FULL, QUICK = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LOCAL = [
    command.replace("\\\n", " ")
    for command in re.findall(
        r"^\$ ((?:\\\n|.)*)", PAGE[PAGE.index("# quick.yaml") :], re.MULTILINE
    )
]


@pytest.mark.parametrize("text", [FULL, QUICK], ids=["full", "quick"])
def test_the_plans_are_plans(text):
    """As the code reads them and as the schema has them."""
    parse_plan(text)
    schema = jsonschema_rs.validator_for(json.loads((DOCS / "plan.schema.json").read_text("utf-8")))
    schema.validate(yaml.safe_load(text))


def test_the_full_plan_has_every_field_and_the_defaults_that_it_claims():
    """All but those marked."""
    told = yaml.safe_load(FULL)
    default = Plan().model_dump(mode="json")

    assert set(told) == set(default)
    assert set(told["limits"]) == set(Limits().model_dump())
    for line in FULL.splitlines():
        if "# default" in line:
            name = line.split(":")[0].strip()
            for content in (told, told["dark"], told["limits"]):
                content.pop(name, None)
            for content in (default, default["dark"], default["limits"]):
                content.pop(name, None)
    assert told == default


def test_the_table_has_every_field():
    """In the plan's order."""
    table = PAGE[PAGE.index("| field | meaning |") :].split("\n\n")[0]

    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Plan.model_fields)


@pytest.fixture
def place(colours, tmp_path, monkeypatch):
    """A folder with what the page asks for, and the pod that serves version 1."""
    monkeypatch.setenv("PYTHONPATH", str(DOCS.parent))
    for variable in ("MLFLOW_TRACKING_URI", "MILLRACE_REGISTRY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    registry = Registry("sqlite:///var/mlflow.db", create=True)
    for _ in range(2):
        register(registry, colours, "digits", "", {})
    set_alias(registry, "digits", "champion", "1")
    fetch = from_registry(registry, Cache(Path("var/cache")))
    stored = put(fetch(Version("digits", "1", "models:/digits/1")), tmp_path / "var" / "store")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "quick.yaml").write_text(QUICK)
    write_folder(tmp_path / "golden", files(10))
    pod = Pod(stored, "--repository-token", TOKEN, "--drain-delay-s", "0")
    load = Load(f"{pod.url}/v1/models/digits:predict", colour_image("red"), clients=3)
    yield pod
    assert set(load.stop()) == {200}
    pod.close()


def test_the_commands_for_pods_do_what_the_page_says(place):
    """From an alias to a promotion."""
    outputs = []
    for command in LOCAL:
        words = shlex.split(command.replace("http://localhost:8080", place.url))
        assert words[0] == "millrace"
        ran = subprocess.run(
            [sys.executable, "-m", *words],
            capture_output=True, text=True, check=False, env=dict(os.environ),
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr
        outputs.append(ran.stdout)

    assert len(outputs) == 3
    assert "step 2 of 2: 100 %: passed" in outputs[1]
    assert "phase     promoted" in outputs[2]
