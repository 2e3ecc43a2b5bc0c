"""The image of the pipeline's steps: built on the predictor's, run from its own root."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import yaml

from model_store.package import load_package
from pipelines.compilation import GOLDEN
from tests.conftest import colour_network, package_colours
from tests.manifests import container as node
from tests.manifests.images import BUILD_S, PREDICTOR, built, locked_otherwise
from tests.manifests.kustomize import overlay
from tests.manifests.test_pods import pods
from tests.pipelines.test_image import OPTIONAL, ROOMS

LARGEST_BYTES = 1_600 * 10**6
USER = 10_001
RUN_S = 120  # seconds
# Imports every module of the rooms that are named; says which cannot be, for want of what.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
lacking, there = {}, []
for room in map(importlib.import_module, sys.argv[1:]):
    for each in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
        if not each.name.endswith("__main__"):
            try:
                importlib.import_module(each.name)
                there.append(each.name)
            except ModuleNotFoundError as error:
                lacking[each.name] = error.name
print(json.dumps([lacking, there]))
"""

pytestmark = pytest.mark.timeout(2 * BUILD_S + RUN_S)


@pytest.fixture(scope="module")
def steps(image):
    """Built once, on the predictor's image that the tests have built."""
    with built(
        f"{PREDICTOR}-pipeline", VARIANT="pipeline", PREDICTOR=f"localhost/{PREDICTOR}"
    ) as made:
        yield made


@pytest.fixture(scope="module")
def run(steps):
    """Run a command in a step's container; what it prints.

    With the rights that the manifests give a pod, and a root that is read-only.
    """
    node.demand_runtime()
    ((_, container, _),) = pods(overlay("local"))
    security = container["securityContext"]

    def command(*words, mounts=()):
        what = node.process(steps.config, security, words, {})
        ran = node.ran(steps.root, what, security, [node.tmpfs("/tmp", "512Mi"), *mounts])
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    return command


def test_every_module_of_steps_and_commands_can_be_imported(run):
    """But for those of PyTorch sources and of MLPerf, whose packages are in no image."""
    lacking, there = json.loads(run("python3", "-c", IMPORT_ALL, *ROOMS).splitlines()[-1])

    assert {name: lack for name, lack in lacking.items() if lack not in OPTIONAL} == {}
    assert {"pipelines.tasks", "pipelines.measuring", "rollout.kserve.connect"} <= set(there)


@pytest.mark.parametrize(
    ("command", "said"), [("pipeline", "submit"), ("rollout", "abort"), ("analyze", "--gate")]
)
def test_the_command_line_is_there_too(run, command, said):
    """So that a rollout that was left can be ended from within the cluster."""
    assert said in run("millrace", command, "--help")


def test_a_step_runs_as_kfp_starts_it(run, tmp_path):
    """By the command that is compiled: it makes a package of a network that it is given."""
    package_colours(tmp_path, colour_network(), "colours")
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "made").mkdir()
    tmp_path.chmod(0o755)  # whose name is taken from nobody, by what is above it
    os.chown(tmp_path / "made", USER, USER)
    with GOLDEN.open(encoding="utf-8") as file:
        compiled, _ = yaml.load_all(file, yaml.CSafeLoader)
    step = compiled["deploymentSpec"]["executors"]["exec-package"]["container"]
    given = {
        "name": "colours",
        "source": "/mnt/millrace/colour.onnx",
        "labels": "/mnt/millrace/labels.txt",
        "parity_images": "/mnt/millrace/images",
        "packaging": {"scale": "1/255"},
        "registry": "",
        "source_digest": "of-the-source",
    }
    model = {"name": "model", "uri": "/minio/model", "type": {"schemaTitle": "system.Model"}}
    outputs = {"artifacts": {"model": {"artifacts": [model]}}, "outputFile": "/minio/said.json"}
    wanted = json.dumps({"inputs": {"parameterValues": given}, "outputs": outputs})

    run(
        *step["command"],
        *(wanted if each == "{{$}}" else each for each in step["args"]),
        mounts=[
            node.bind("/mnt/millrace", tmp_path),
            node.bind("/minio", tmp_path / "made", writable=True),
        ],
    )

    (said,) = json.loads((tmp_path / "made" / "said.json").read_text("utf-8"))["artifacts"][
        "model"
    ]["artifacts"]
    assert said["metadata"]["source_digest"] == "of-the-source"
    assert load_package(tmp_path / "made" / "model" / "colours" / "1").name == "colours"


def test_it_is_as_small_as_it_can_be_and_says_what_is_in_it(steps):
    """Its own bill of materials, of the lock's versions, and no installer."""
    versions = json.loads((steps.root / "opt/millrace/sbom.cdx.json").read_text("utf-8"))
    names = {each["name"].replace("_", "-").lower() for each in versions["components"]}

    assert steps.size_bytes <= LARGEST_BYTES
    assert {"kfp", "mlflow", "kubernetes", "scipy", "onnxruntime"} <= names
    assert locked_otherwise(versions) == {}
    assert not (steps.packages / "pip").exists()
    assert steps.config["User"] == f"{USER}:{USER}"
    assert "Healthcheck" not in steps.config or steps.config["Healthcheck"]["Test"] == ["NONE"]
