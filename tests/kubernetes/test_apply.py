"""Server-side apply and the other patches, by the official client."""

from __future__ import annotations

from typing import Any

import pytest
from kubernetes import client

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.test_objects import ISVCS, refusal, service

APPLY = "application/apply-patch+yaml"
JSON = "application/json-patch+json"


def apply(
    api: client.ApiClient, manager: str, body: dict[str, Any], *, force: bool = False
) -> dict[str, Any]:
    """``body`` applied as ``manager``; by the path: the client's own call knows no such type."""
    group, version, namespace, plural = ISVCS
    path = f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/shop"
    found: dict[str, Any] = api.call_api(
        path,
        "PATCH",
        query_params=[("fieldManager", manager), ("force", str(force).lower())],
        header_params={"Content-Type": APPLY, "Accept": "application/json"},
        body=body,
        response_type="object",
        auth_settings=["BearerToken"],
        _return_http_data_only=True,
    )
    return found


def managers(thing: dict[str, Any]) -> dict[str, str]:
    """Operation by manager."""
    return {each["manager"]: each["operation"] for each in thing["metadata"]["managedFields"]}


def test_an_apply_makes_and_changes_what_it_names(api: client.ApiClient) -> None:
    """What it no longer names goes, if nobody else has set it."""
    made = apply(api, "rollout", service(minReplicas=2, timeout=30))
    assert managers(made) == {"rollout": "Apply"}
    again = apply(api, "rollout", service(minReplicas=3))
    assert again["spec"]["predictor"]["minReplicas"] == 3
    assert "timeout" not in again["spec"]["predictor"]
    assert again["metadata"]["generation"] == 2


def test_an_apply_does_not_take_what_others_have_set(api: client.ApiClient) -> None:
    """Unless it is told to; then it is its own, and the other's no more."""
    apply(api, "rollout", service(minReplicas=2))
    client.CustomObjectsApi(api).patch_namespaced_custom_object(
        *ISVCS, "shop", {"spec": {"predictor": {"minReplicas": 5}}}, field_manager="kubectl-edit"
    )
    with pytest.raises(client.ApiException) as error:
        apply(api, "rollout", service(minReplicas=2))
    told = 'conflict with "kubectl-edit" using serving.kserve.io/v1beta1'
    assert refusal(error.value) == (
        409,
        "Conflict",
        f"Apply failed with 1 conflict: {told}: .spec.predictor.minReplicas",
    )
    taken = apply(api, "rollout", service(minReplicas=2), force=True)
    assert taken["spec"]["predictor"]["minReplicas"] == 2
    assert managers(taken) == {"rollout": "Apply"}


def test_an_apply_of_the_same_value_shares_it(api: client.ApiClient) -> None:
    """And who leaves it out later does not remove it."""
    apply(api, "rollout", service(minReplicas=2))
    shared = apply(api, "team", service(minReplicas=2))
    assert managers(shared) == {"rollout": "Apply", "team": "Apply"}
    left = apply(api, "team", service())
    assert left["spec"]["predictor"]["minReplicas"] == 2


def test_an_apply_with_an_unknown_field_is_refused(api: client.ApiClient) -> None:
    """Where an update would drop it."""
    with pytest.raises(client.ApiException) as error:
        apply(api, "rollout", service(minReplica=2))
    assert refusal(error.value) == (
        500,
        "",
        "failed to create typed patch object (default/shop; serving.kserve.io/v1beta1,"
        " Kind=InferenceService): .spec.predictor.minReplica: field not declared in schema",
    )


def test_a_json_patch_tests_before_it_writes(api: client.ApiClient) -> None:
    """All of its operations, or none."""
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*ISVCS, service(minReplicas=1))

    def patch(was: int, wanted: int) -> dict[str, Any]:
        path = "/spec/predictor/minReplicas"
        operations = [
            {"op": "replace", "path": path, "value": wanted},
            {"op": "test", "path": "/spec/predictor/minReplicas", "value": was},
        ]
        operations.reverse()
        group, version, namespace, plural = ISVCS
        found: dict[str, Any] = api.call_api(
            f"/apis/{group}/{version}/namespaces/{namespace}/{plural}/shop",
            "PATCH",
            header_params={"Content-Type": JSON},
            body=operations,
            response_type="object",
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )
        return found

    assert patch(1, 2)["spec"]["predictor"]["minReplicas"] == 2
    with pytest.raises(client.ApiException) as error:
        patch(1, 3)
    assert error.value.status == 422
    found = custom.get_namespaced_custom_object(*ISVCS, "shop")
    assert found["spec"]["predictor"]["minReplicas"] == 2


def test_a_strategic_patch_merges_lists_by_their_key(
    cluster: Cluster, api: client.ApiClient
) -> None:
    """Of a Deployment, one container's image: the others stay."""
    containers = [{"name": name, "image": f"{name}:1"} for name in ("main", "agent")]
    labels = {"app": "shop"}
    cluster.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "shop"},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        }
    )
    patch = {"containers": [{"name": "agent", "image": "agent:2"}]}
    made = client.AppsV1Api(api).patch_namespaced_deployment(
        "shop", "default", {"spec": {"template": {"spec": patch}}}
    )
    assert [each.image for each in made.spec.template.spec.containers] == ["main:1", "agent:2"]
