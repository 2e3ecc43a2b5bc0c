"""The fake API server with the official client: objects, versions of them, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes import access
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import connected

ISVCS = ("serving.kserve.io", "v1beta1", "default", "inferenceservices")
GONE = "the object has been modified; please apply your changes to the latest version and try again"


def service(**predictor: Any) -> dict[str, Any]:
    """An InferenceService of version 1 of the model."""
    model = {"modelFormat": {"name": "millrace"}, "storageUri": "pvc://models/shop/1"}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "shop"},
        "spec": {"predictor": {"model": model, **predictor}},
    }


def refusal(error: client.ApiException) -> tuple[int, str, str]:
    """Code, reason and message of a refused request."""
    body = json.loads(error.body)
    assert (body["kind"], body["code"]) == ("Status", error.status)
    return error.status, body.get("reason", ""), body["message"]


def test_an_object_is_made_read_and_removed(cluster: Cluster, api: client.ApiClient) -> None:
    """It has what the server gives each: a uid, a time, a version, managed fields."""
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"), data={"a": "1"})
    )
    read = core.read_namespaced_config_map("state", "default")
    assert read == made
    assert all((read.metadata.uid, read.metadata.creation_timestamp))
    assert read.metadata.resource_version == str(cluster.store.revision)
    assert [each.operation for each in read.metadata.managed_fields] == ["Update"]
    assert core.delete_namespaced_config_map("state", "default").status == "Success"
    with pytest.raises(client.ApiException) as error:
        core.read_namespaced_config_map("state", "default")
    assert refusal(error.value) == (404, "NotFound", 'configmaps "state" not found')


def test_the_second_of_two_writers_is_told_so(api: client.ApiClient) -> None:
    """A replace and a patch that name the version they read are refused once it is old."""
    core = client.CoreV1Api(api)
    old = core.create_namespaced_config_map(
        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"), data={"a": "1"})
    )
    core.patch_namespaced_config_map("state", "default", {"data": {"a": "2"}})
    message = f'Operation cannot be fulfilled on configmaps "state": {GONE}'
    stale = {"metadata": {"resourceVersion": old.metadata.resource_version}, "data": {"a": "3"}}
    for write, body in (
        (core.replace_namespaced_config_map, old),
        (core.patch_namespaced_config_map, stale),
    ):
        with pytest.raises(client.ApiException) as error:
            write("state", "default", body)
        assert refusal(error.value) == (409, "Conflict", message)
    with pytest.raises(client.ApiException) as error:
        core.create_namespaced_config_map("default", client.V1ConfigMap(metadata=old.metadata))
    assert error.value.status == 500


def test_what_changes_nothing_makes_no_version(api: client.ApiClient) -> None:
    """A patch to what is there already leaves resourceVersion and generation alone."""
    custom = client.CustomObjectsApi(api)
    made = custom.create_namespaced_custom_object(*ISVCS, service(minReplicas=1))
    same = custom.patch_namespaced_custom_object(
        *ISVCS, "shop", {"spec": {"predictor": {"minReplicas": 1}}}
    )
    assert same["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_only_a_change_of_the_spec_is_a_generation(api: client.ApiClient) -> None:
    """Annotations and status do not count; status is written by its own path alone."""
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*ISVCS, service())
    marked = custom.patch_namespaced_custom_object(
        *ISVCS, "shop", {"metadata": {"annotations": {"a": "b"}}, "status": {"url": "http://x"}}
    )
    assert (marked["metadata"]["generation"], "status" in marked) == (1, False)
    told = custom.patch_namespaced_custom_object_status(
        *ISVCS, "shop", {"status": {"url": "http://x"}, "spec": {"predictor": {"minReplicas": 7}}}
    )
    assert (told["status"]["url"], told["metadata"]["generation"]) == ("http://x", 1)
    assert "minReplicas" not in told["spec"]["predictor"]
    more = custom.patch_namespaced_custom_object(
        *ISVCS, "shop", {"spec": {"predictor": {"minReplicas": 2}}}
    )
    assert (more["metadata"]["generation"], more["status"]["url"]) == (2, "http://x")


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"predictor": {"minReplicas": "one"}},
            'spec.predictor.minReplicas: Invalid value: "string": spec.predictor.minReplicas in'
            ' body must be of type integer: "string"',
        ),
        (
            {"predictor": {}, "canary": [{"trafficPercent": 5}]},
            "spec.canary[0].predictor: Required value",
        ),
        (
            {
                "predictor": {
                    "scaleMetric": "queue",
                }
            },
            'spec.predictor.scaleMetric: Unsupported value: "queue": supported values: "cpu",'
            ' "memory", "concurrency", "rps"',
        ),
    ],
)
def test_a_wrong_spec_is_refused_in_the_servers_words(
    api: client.ApiClient, spec: dict[str, Any], told: str
) -> None:
    """By the CRD's own schema, with the field that is wrong."""
    with pytest.raises(client.ApiException) as error:
        client.CustomObjectsApi(api).create_namespaced_custom_object(
            *ISVCS, {**service(), "spec": spec}
        )
    message = f'InferenceService.serving.kserve.io "shop" is invalid: {told}'
    assert refusal(error.value) == (422, "Invalid", message)


def test_a_service_account_does_what_its_role_allows(
    cluster: Cluster, api: client.ApiClient, tmp_path: Path
) -> None:
    """And is told which verb on which resource it may not."""
    client.CustomObjectsApi(api).create_namespaced_custom_object(*ISVCS, service())
    user = access.service_account("default", "pipeline")
    rules = [{"apiGroups": [ISVCS[0]], "resources": [ISVCS[3]], "verbs": ["get", "list"]}]
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": "default"},
        "rules": rules,
    }
    cluster.bind(user, role)
    with connected(cluster.kubeconfig(tmp_path, user)) as limited:
        custom = client.CustomObjectsApi(limited)
        assert custom.get_namespaced_custom_object(*ISVCS, "shop")["metadata"]["name"] == "shop"
        with pytest.raises(client.ApiException) as error:
            custom.patch_namespaced_custom_object(
                *ISVCS, "shop", {"metadata": {"labels": {"a": "b"}}}
            )
        assert refusal(error.value) == (
            403,
            "Forbidden",
            'inferenceservices.serving.kserve.io "shop" is forbidden: User'
            ' "system:serviceaccount:default:pipeline" cannot patch resource "inferenceservices" in'
            ' API group "serving.kserve.io" in the namespace "default"',
        )
        with pytest.raises(client.ApiException) as error:
            client.CoreV1Api(limited).list_namespaced_config_map("default")
        assert refusal(error.value)[2] == (
            'configmaps is forbidden: User "system:serviceaccount:default:pipeline" cannot list'
            ' resource "configmaps" in API group "" in the namespace "default"'
        )
