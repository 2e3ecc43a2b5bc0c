"""Lists, watches, discovery and reviews of access, by the official client."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from kubernetes import client, watch

from tests.kubernetes import access
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.conftest import connected
from tests.kubernetes.test_objects import ISVCS, service


def settings(name: str, **labels: str) -> client.V1ConfigMap:
    """A ConfigMap."""
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels))


def test_a_watch_tells_what_changes_as_it_changes(cluster: Cluster, api: client.ApiClient) -> None:
    """First what there is, then each write; those with other labels are not told."""
    core = client.CoreV1Api(api)
    core.create_namespaced_config_map("default", settings("first", of="shop"))
    seen: list[tuple[str, str]] = []
    there = threading.Event()

    def follow() -> None:
        stream = watch.Watch().stream(
            core.list_namespaced_config_map,
            "default",
            label_selector="of=shop",
            timeout_seconds=60,
        )
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            there.set()
            if event["type"] == "DELETED":
                break

    thread = threading.Thread(target=follow)
    thread.start()
    assert there.wait(60)
    core.create_namespaced_config_map("default", settings("other", of="else"))
    core.create_namespaced_config_map("default", settings("second", of="shop"))
    # What loses the label is gone for who watches it.
    core.patch_namespaced_config_map("second", "default", {"metadata": {"labels": {"of": "else"}}})
    thread.join(60)
    assert seen == [("ADDED", "first"), ("ADDED", "second"), ("DELETED", "second")]


def test_a_watch_from_a_revision_that_is_forgotten_is_refused(
    cluster: Cluster, api: client.ApiClient
) -> None:
    """410 Gone: list again."""
    core = client.CoreV1Api(api)
    old = core.list_namespaced_config_map("default").metadata.resource_version
    core.create_namespaced_config_map("default", settings("later"))
    cluster.store.compact()
    with pytest.raises(client.ApiException) as error:
        list(
            watch.Watch().stream(
                core.list_namespaced_config_map,
                "default",
                resource_version=old,
                timeout_seconds=1,
            )
        )
    assert (error.value.status, error.value.reason) == (
        410,
        f"Expired: too old resource version: {old} ({cluster.store.revision})",
    )


def test_a_watch_ends_with_a_bookmark(api: client.ApiClient) -> None:
    """It says from which revision to go on."""
    core = client.CoreV1Api(api)
    listed = core.list_namespaced_config_map("default").metadata.resource_version
    (event,) = watch.Watch().stream(
        core.list_namespaced_config_map,
        "default",
        allow_watch_bookmarks=True,
        resource_version=listed,
        timeout_seconds=1,
    )
    assert event["type"] == "BOOKMARK"
    assert event["raw_object"]["metadata"]["resourceVersion"] == listed


def test_a_list_comes_in_pages(api: client.ApiClient) -> None:
    """As many as asked for, and a mark for the rest."""
    core = client.CoreV1Api(api)
    for index in range(5):
        core.create_namespaced_config_map("default", settings(f"n{index}"))
    names, mark = [], ""
    while True:
        page = core.list_namespaced_config_map("default", limit=2, _continue=mark)
        names.append([each.metadata.name for each in page.items])
        mark = page.metadata._continue
        if not mark:
            break
    assert names == [["n0", "n1"], ["n2", "n3"], ["n4"]]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("of=shop", ["a", "b"]),
        ("of!=shop", ["c"]),
        ("of in (shop, till),tier", ["b"]),
        ("!tier", ["a", "c"]),
        ("of notin (shop)", ["c"]),
    ],
)
def test_labels_select(api: client.ApiClient, selector: str, expected: list[str]) -> None:
    """In each of the ways of writing it."""
    core = client.CoreV1Api(api)
    for name, labels in (("a", {"of": "shop"}), ("b", {"of": "shop", "tier": "1"}), ("c", {})):
        core.create_namespaced_config_map("default", settings(name, **labels))
    found = core.list_namespaced_config_map("default", label_selector=selector)
    assert [each.metadata.name for each in found.items] == expected


def test_a_collection_goes_by_its_fields(api: client.ApiClient) -> None:
    """Those alone that are selected."""
    core = client.CoreV1Api(api)
    for name in ("a", "b"):
        core.create_namespaced_config_map("default", settings(name))
    core.delete_collection_namespaced_config_map("default", field_selector="metadata.name=a")
    assert [m.metadata.name for m in core.list_namespaced_config_map("default").items] == ["b"]


def test_the_server_says_what_it_serves(api: client.ApiClient) -> None:
    """Groups, versions, kinds, and CRDs with what they are of."""
    assert client.VersionApi(api).get_code().git_version == "v1.30.0"
    groups = {each.name for each in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "serving.kserve.io", "gateway.networking.k8s.io"} <= groups
    kinds = client.CustomObjectsApi(api).list_cluster_custom_object(
        "serving.kserve.io", "v1beta1", ""
    )
    assert "inferenceservices" in {each["name"] for each in kinds["resources"]}
    definitions = client.ApiextensionsV1Api(api)
    read = definitions.read_custom_resource_definition("inferenceservices.serving.kserve.io")
    spec = read.spec.versions[0].schema.open_apiv3_schema.properties["spec"]
    assert "canary" in spec.properties
    with pytest.raises(client.ApiException) as error:
        definitions.read_custom_resource_definition("services.serving.knative.dev")
    assert error.value.status == 404
    with pytest.raises(client.ApiException) as error:
        client.CustomObjectsApi(api).list_namespaced_custom_object(
            "serving.knative.dev", "v1", "default", "services"
        )
    assert error.value.status == 404


def test_a_service_account_can_ask_what_it_may(cluster: Cluster, tmp_path: Path) -> None:
    """Before it tries; by name too."""
    user = access.service_account("default", "pipeline")
    rule = {
        "apiGroups": ["serving.kserve.io"],
        "resources": ["inferenceservices"],
        "resourceNames": ["shop"],
        "verbs": ["patch"],
    }
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "patcher", "namespace": "default"},
        "rules": [rule],
    }
    cluster.bind(user, role)
    with connected(cluster.kubeconfig(tmp_path, user)) as limited:
        reviews = client.AuthorizationV1Api(limited)

        def may(name: str, verb: str) -> bool:
            asked = client.V1ResourceAttributes(
                group="serving.kserve.io",
                resource="inferenceservices",
                namespace="default",
                name=name,
                verb=verb,
            )
            spec = client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked)
            review = client.V1SelfSubjectAccessReview(spec=spec)
            allowed: bool = reviews.create_self_subject_access_review(review).status.allowed
            return allowed

        assert [may("shop", "patch"), may("other", "patch"), may("shop", "delete")] == [
            True,
            False,
            False,
        ]


def test_nobody_unknown_is_answered(cluster: Cluster, api: client.ApiClient) -> None:
    """Without a token that the server knows: 401."""
    client.CustomObjectsApi(api).create_namespaced_custom_object(*ISVCS, service())
    configuration = client.Configuration(host=cluster.url)
    with (
        client.ApiClient(configuration) as stranger,
        pytest.raises(client.ApiException) as error,
    ):
        client.CustomObjectsApi(stranger).get_namespaced_custom_object(*ISVCS, "shop")
    assert error.value.status == 401
