"""The ways to the fake cluster, and what it refuses for every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from kubernetes import client
from kubernetes.config.incluster_config import InClusterConfigLoader

from tests.kubernetes import access
from tests.kubernetes.cluster import Cluster, running
from tests.kubernetes.conftest import connected
from tests.kubernetes.test_objects import ISVCS, refusal, service
from tests.kubernetes.writing import Admission


def test_a_pod_reaches_it_by_its_service_account(tmp_path: Path) -> None:
    """By HTTPS, with the authority, the token and the namespace that are mounted in it."""
    user = access.service_account("default", "pipeline")
    with running(tls=tmp_path) as cluster:
        mount = cluster.service_account_folder(tmp_path, user)
        parts = urlsplit(cluster.url)
        address = {
            "KUBERNETES_SERVICE_HOST": parts.hostname,
            "KUBERNETES_SERVICE_PORT": str(parts.port),
        }
        settings = client.Configuration()
        InClusterConfigLoader(
            token_filename=mount / "token", cert_filename=mount / "ca.crt", environ=address
        ).load_and_set(settings)
        with client.ApiClient(settings) as api:
            assert client.VersionApi(api).get_code().minor == "30"
            with pytest.raises(client.ApiException) as error:
                client.CoreV1Api(api).list_namespaced_pod("default")
    assert f'User "{user.name}" cannot list resource "pods"' in refusal(error.value)[2]


def test_who_does_not_know_its_authority_does_not_trust_it(tmp_path: Path) -> None:
    """As with a real one."""
    settings = client.Configuration()
    settings.retries = urllib3.Retry(0)
    with running(tls=tmp_path) as cluster:
        settings.host = cluster.url
        with client.ApiClient(settings) as api, pytest.raises(urllib3.exceptions.MaxRetryError):
            client.VersionApi(api).get_code()
        with connected(cluster.kubeconfig(tmp_path)) as api:
            assert client.VersionApi(api).get_code().minor == "30"


@pytest.mark.parametrize(
    ("metadata", "code", "told"),
    [
        (
            {"name": "Shop"},
            422,
            'metadata.name: Invalid value: "Shop": a lowercase RFC 1123 subdomain',
        ),
        ({"name": "shop", "labels": {"a": "b c"}}, 422, 'metadata.labels: Invalid value: "b c"'),
        ({"name": "shop", "labels": {"a": 1}}, 400, "json: cannot unmarshal integer"),
        (
            {"name": "shop", "namespace": "else"},
            400,
            "the namespace of the provided object does not",
        ),
        ({"name": "shop", "annotations": {"a": "b" * 300_000}}, 422, "may not be more than 262144"),
    ],
)
def test_metadata_is_as_the_api_allows(
    api: client.ApiClient, metadata: dict[str, Any], code: int, told: str
) -> None:
    """Names, labels and annotations, whatever the kind."""
    with pytest.raises(client.ApiException) as error:
        client.CustomObjectsApi(api).create_namespaced_custom_object(
            *ISVCS, {**service(), "metadata": metadata}
        )
    assert error.value.status == code
    assert told in refusal(error.value)[2]


def test_a_namespace_that_is_not_there_takes_nothing(api: client.ApiClient) -> None:
    """404, of the namespace."""
    settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"))
    with pytest.raises(client.ApiException) as error:
        client.CoreV1Api(api).create_namespaced_config_map("nowhere", settings)
    assert refusal(error.value) == (404, "NotFound", 'namespaces "nowhere" not found')


def test_unknown_fields_are_dropped_told_or_refused(api: client.ApiClient) -> None:
    """As fieldValidation asks for; a warning if it says nothing."""
    custom = client.CustomObjectsApi(api)
    wrong = service(minReplica=2)
    made, _, headers = custom.create_namespaced_custom_object_with_http_info(*ISVCS, wrong)
    assert "minReplica" not in made["spec"]["predictor"]
    assert headers["Warning"] == '299 - "unknown field \\"spec.predictor.minReplica\\""'
    with pytest.raises(client.ApiException) as error:
        client.CoreV1Api(api).create_namespaced_config_map(
            "default", {"metadata": {"name": "x"}, "datum": {}}, field_validation="Strict"
        )
    assert refusal(error.value)[::2] == (
        400,
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error:'
        ' unknown field "datum"',
    )


def test_a_dry_run_refuses_the_same_and_keeps_nothing(
    cluster: Cluster, api: client.ApiClient
) -> None:
    """Neither what is new nor what is changed."""
    core = client.CoreV1Api(api)
    settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"), data={"a": "1"})
    core.create_namespaced_config_map("default", settings, dry_run="All")
    assert cluster.get("ConfigMap", "state") is None
    core.create_namespaced_config_map("default", settings)
    told = core.patch_namespaced_config_map("state", "default", {"data": {"a": "2"}}, dry_run="All")
    assert told.data == {"a": "2"}
    assert cluster.get("ConfigMap", "state")["data"] == {"a": "1"}


def test_what_is_deleted_is_what_was_meant(cluster: Cluster, api: client.ApiClient) -> None:
    """By its uid: one of the same name made since is another."""
    core = client.CoreV1Api(api)
    settings = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="state"))
    old = core.create_namespaced_config_map("default", settings).metadata.uid
    core.delete_namespaced_config_map("state", "default")
    core.create_namespaced_config_map("default", settings)
    meant = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=old))
    with pytest.raises(client.ApiException) as error:
        core.delete_namespaced_config_map("state", "default", body=meant)
    assert refusal(error.value)[:2] == (409, "Conflict")
    assert cluster.get("ConfigMap", "state")


def test_a_replacement_must_say_what_it_replaces(api: client.ApiClient) -> None:
    """Of custom kinds: with no resourceVersion it is refused, where a ConfigMap's is taken."""
    custom = client.CustomObjectsApi(api)
    custom.create_namespaced_custom_object(*ISVCS, service())
    with pytest.raises(client.ApiException) as error:
        custom.replace_namespaced_custom_object(*ISVCS, "shop", service(minReplicas=2))
    assert refusal(error.value)[2].endswith(
        "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
    )


def _broken(_: Admission) -> None:
    raise ZeroDivisionError


def test_what_the_fake_itself_does_wrong_is_told(tmp_path: Path) -> None:
    """To the client by 500, and to the test at its end."""
    with pytest.raises(ZeroDivisionError), running() as cluster:  # noqa: PT012 - the end raises it
        cluster.objects.mutating.append(_broken)
        with (
            connected(cluster.kubeconfig(tmp_path)) as api,
            pytest.raises(client.ApiException) as error,
        ):
            client.CoreV1Api(api).create_namespaced_config_map(
                "default", {"metadata": {"name": "x"}}
            )
        assert error.value.status == 500
