"""The pipeline as it is compiled: reviewed, whole, and cached on purpose."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml

from pipelines import components
from pipelines.compilation import GOLDEN, compiled
from pipelines.definition import MOUNT, SECRET_KEYS, TRIES, Cluster
from pipelines.steps.ending import LONGEST_END_S
from rollout.plan import Step

PAGE = (Path(__file__).parents[2] / "docs" / "pipeline.md").read_text(encoding="utf-8")


WEEK_S = 7 * 24 * 3600  # what a plan may hold a step at most


@pytest.fixture(scope="module")
def text() -> str:
    """Compiled by default settings."""
    return compiled(Cluster())


@pytest.fixture(scope="module")
def documents(text: str) -> tuple[dict, dict]:
    """The pipeline's specification, and what Kubernetes is told."""
    spec, platform = yaml.safe_load_all(text)
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def graphs(spec: dict) -> dict[str, dict]:
    """Every component that holds tasks, by name."""
    every = {**spec["components"], "root": spec["root"]}
    return {name: each for name, each in every.items() if "dag" in each}


def tasks(spec: dict) -> dict[str, dict]:
    """Every task that is a step, by name."""
    return {
        name: task
        for graph in graphs(spec).values()
        for name, task in graph["dag"]["tasks"].items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


def test_the_golden_copy_is_what_is_compiled(text):
    """Whoever changes the pipeline looks at what becomes of it: python -m pipelines.compilation."""
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_every_input_of_a_task_comes_from_somewhere(documents):
    """KFP's compiler writes names of inputs that a graph does not have, and a cluster finds it."""
    for name, graph in graphs(documents[0]).items():
        inputs = graph.get("inputDefinitions", {})
        there = {*inputs.get("parameters", {}), *inputs.get("artifacts", {})}
        for task in graph["dag"]["tasks"].values():
            for each in task.get("inputs", {}).get("parameters", {}).values():
                wanted = each.get("componentInputParameter")
                assert wanted is None or wanted in there, f"{name}: {wanted}"


def test_only_what_is_pinned_is_cached(documents):
    """Packages and analyses; the registry and the traffic are never taken from a cache."""
    cached = {
        name
        for name, task in tasks(documents[0]).items()
        if task["cachingOptions"].get("enableCache")
    }
    assert cached == {"package", "analyze"}
    inputs = documents[0]["components"]["comp-package"]["inputDefinitions"]["parameters"]
    assert "source_digest" in inputs
    inputs = documents[0]["components"]["comp-analyze"]["inputDefinitions"]["parameters"]
    assert {"data_digest", "champion"} <= set(inputs)


def test_steps_run_in_the_projects_image_and_install_nothing(documents):
    """What ran in the tests runs on the cluster."""
    executors = documents[0]["deploymentSpec"]["executors"]
    assert {each["container"]["image"] for each in executors.values()} == {components.IMAGE}
    assert "pip install" not in str(executors)


def test_another_image_and_limits_are_those_of_every_step():
    """GPUs are for steps that measure."""
    cluster = Cluster(image="registry.example/millrace:1", cpus="1", memory="1Gi", gpus=2)
    spec = next(yaml.safe_load_all(compiled(cluster)))
    containers = {
        name.removeprefix("exec-"): each["container"]
        for name, each in spec["deploymentSpec"]["executors"].items()
    }
    assert {each["image"] for each in containers.values()} == {"registry.example/millrace:1"}
    assert {each["resources"]["resourceCpuLimit"] for each in containers.values()} == {"1"}
    with_gpu = {name for name, each in containers.items() if "accelerator" in each["resources"]}
    assert with_gpu == {"analyze", "gate"}


def test_secrets_come_from_a_secret_and_from_nowhere_else(documents):
    """Each key is optional: a registry that asks for nothing needs none."""
    for name, executor in documents[1].items():
        (secret,) = executor["secretAsEnv"]
        assert secret["optional"], name
        assert {each["envVar"] for each in secret["keyToEnv"]} == set(SECRET_KEYS)
        assert executor["pvcMount"][0]["mountPath"] == MOUNT
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert not [name for name in parameters if re.search("token|password|secret", name)]


def test_the_exit_handler_concludes_whatever_happened(documents):
    """It is told the final status, and waits for all of the rest."""
    end = documents[0]["root"]["dag"]["tasks"]["conclude"]
    assert end["triggerPolicy"]["strategy"] == "ALL_UPSTREAM_TASKS_COMPLETED"
    assert end["inputs"]["parameters"]["status"]["taskFinalStatus"]


def test_a_rollout_is_tried_again_for_as_long_as_it_may_take(documents):
    """Argo ends what is tried again when the longest time since the first try's start is over."""
    policy = tasks(documents[0])["rollout"]["retryPolicy"]
    assert policy["maxRetryCount"] == TRIES - 1
    step = Step.model_validate({"percent": 5, "hold_s": WEEK_S})
    with pytest.raises(ValueError, match="hold_s"):
        Step.model_validate({"percent": 5, "hold_s": WEEK_S + 1})
    assert int(policy["backoffMaxDuration"][:-1]) > 50 * step.hold_s


def test_the_exit_handler_is_tried_again_while_the_registry_is_away(documents):
    """Each time it waits twice as long, and the last try begins within the longest time."""
    policy = tasks(documents[0])["conclude"]["retryPolicy"]
    first, longest = (int(policy[key][:-1]) for key in ("backoffDuration", "backoffMaxDuration"))
    waited = [first * policy["backoffFactor"] ** n for n in range(policy["maxRetryCount"])]
    assert sum(waited) + (policy["maxRetryCount"] + 1) * LONGEST_END_S < longest


def test_every_parameter_is_told_and_the_page_has_the_same_ones(documents):
    """Names, types and defaults of docs/pipeline.md's table."""
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert all(each.get("description") for each in parameters.values())
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    told = {name: (kind, default, text) for name, kind, default, text in rows}
    assert told == {
        name: (
            {"STRING": "text", "LIST": "list", "STRUCT": "mapping", "BOOLEAN": "boolean"}[
                each["parameterType"]
            ],
            _default(each),
            each["description"],
        )
        for name, each in parameters.items()
    }


def _default(parameter: dict) -> str:
    if not parameter.get("isOptional"):
        return "required"
    found = parameter.get("defaultValue", "")
    return f"`{found}`" if found not in ("", {}) else "empty"


@pytest.mark.parametrize(
    "name",
    ["pin", "package", "analyze", "gate", "register", "rollout", "promote", "refuse", "conclude"],
)
def test_a_component_is_a_shell(name):
    """What it does is in a function that tests call: it has an import, a call, and little else."""
    source = inspect.getsource(getattr(components, name).python_func)
    _, _, body = source.partition('"""')[2].partition('"""')
    lines = [line for line in body.splitlines() if line.strip()]
    assert "import" in lines[0]
    assert len(lines) <= 8
