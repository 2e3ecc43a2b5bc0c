"""Nobody may do more than the code does: rights on the cluster, and what checkov finds wrong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.manifests.checkov import INSTALL_S, RUN_S, failed
from tests.manifests.kustomize import (
    COMPONENTS,
    OVERLAYS,
    deployments,
    only,
    overlay,
    with_components,
)
from tests.manifests.schemas import BUILT_IN
from tests.rooms import ROOMS

ROOT = Path(__file__).parents[2]
ROUTES = "gateway.networking.k8s.io"


def rooms_that_import_kubernetes():
    """Those whose code could ask the Kubernetes API anything."""
    rooms = set()
    for room in ROOMS:
        for file in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Import | ast.ImportFrom):
                    continue
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]  # kfp has a part of that name, which asks nothing
                else:
                    modules = [each.name for each in node.names]
                if any(name.partition(".")[0] == "kubernetes" for name in modules):
                    rooms.add(room)
    return rooms


def granted(objects):
    """What each Role allows, as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for each in objects
        if each["kind"] == "Role"
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_the_pipeline_may_change_inferenceservices_and_routes_of_its_namespace(tmp_path):
    """Neither make nor delete one, by no wildcard; what else it may is to read, and its own state.

    That a rollout needs all of it and no more is tests/rollout/kserve/test_access.py's.
    """
    objects = with_components(tmp_path, "pipeline-access")
    allowed = granted(objects)

    writes = {each for each in allowed if each[2] not in ("get", "list")}
    assert writes == {
        ("serving.kserve.io", "inferenceservices", "patch"),
        (ROUTES, "httproutes", "patch"),
        (ROUTES, "grpcroutes", "patch"),
        ("", "configmaps", "create"),
        ("", "configmaps", "patch"),
        ("", "configmaps", "delete"),
    }
    assert "secrets" not in {resource for _, resource, _ in allowed}
    (binding,) = (each for each in objects if each["kind"] == "RoleBinding")
    assert [each["name"] for each in binding["subjects"]] == ["millrace-pipeline"]


def test_what_few_need_is_granted_by_components_of_its_own(tmp_path):
    """To the same service account, in whatever order they are listed."""
    more = ("pipeline-access-route", "pipeline-access-candidate")
    objects = with_components(tmp_path, *more, "pipeline-access")
    (tmp_path / "least").mkdir()
    least = with_components(tmp_path / "least", "pipeline-access")

    assert granted(objects) - granted(least) == {
        (ROUTES, "httproutes", "create"),
        ("serving.kserve.io", "inferenceservices", "create"),
        ("serving.kserve.io", "inferenceservices", "delete"),
    }
    (account,) = (
        each
        for each in objects
        if each["metadata"]["name"] == "millrace-pipeline" and each["kind"] == "ServiceAccount"
    )
    subjects = [
        (each["name"], each["namespace"])
        for binding in objects
        if binding["kind"] == "RoleBinding"
        for each in binding["subjects"]
    ]
    assert subjects == [("millrace-pipeline", account["metadata"]["namespace"])] * 3


def test_only_a_rollout_asks_the_kubernetes_api():
    """And from it whoever runs one; no other room has a client of it."""
    assert rooms_that_import_kubernetes() == {"rollout"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_no_overlay_grants_anything_on_the_whole_cluster(name):
    """And pods have no token to ask with."""
    objects = overlay(name)

    assert not [each["kind"] for each in objects if each["kind"].startswith("ClusterRole")]
    assert all(verb != "*" for *_, verb in granted(objects))
    for deployment in deployments(objects):
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "millrace-predictor"


def test_what_runs_in_a_pod_does_not_know_the_kubernetes_api():
    """So its service account needs no rights at all."""
    assert rooms_that_import_kubernetes() & {"model_store", "predictor"} == set()


def test_no_secret_stands_in_the_manifests(tmp_path):
    """They are made by hand and referred to by name."""
    objects = [each for name in OVERLAYS for each in overlay(name)]
    objects += with_components(tmp_path, *(set(COMPONENTS) - {"gpu-amd", "autoscaling-keda"}))

    assert [each for each in objects if each["kind"] == "Secret"] == []


@pytest.mark.timeout(INSTALL_S + RUN_S)
def test_checkov_finds_nothing_beyond_the_stated_baseline():
    """Of Kubernetes' own objects, and of the Deployments that KServe makes of ours."""
    objects = [
        each
        for name in OVERLAYS
        for each in (
            *(thing for thing in overlay(name) if thing["apiVersion"] in BUILT_IN),
            *deployments(overlay(name)),
        )
    ]

    assert failed(objects) == []


@pytest.mark.timeout(INSTALL_S + RUN_S)
def test_checkov_would_find_a_pod_that_runs_as_root():
    """The check is one that can fail, and the baseline leaves out no more than it says."""
    policy = only(overlay("local"), "NetworkPolicy")
    (deployment,) = deployments(overlay("local"))
    without = {line.split()[0] for line in failed([policy, deployment], baseline=False)}
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["image"] = f"millrace@sha256:{'0' * 64}"
    by_digest = {line.split()[0] for line in failed([policy, deployment], baseline=False)}
    container["securityContext"]["privileged"] = True

    assert without == {"CKV_K8S_15", "CKV_K8S_43"}
    assert by_digest == set()
    assert any(line.startswith("CKV_K8S_16 ") for line in failed([policy, deployment]))
