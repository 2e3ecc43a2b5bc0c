"""Requests to the Kubernetes API: others who write, rights that lack, connections that are lost."""

from __future__ import annotations

import socket

import pytest

from rollout.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RolloutError,
    UnreachableError,
)
from rollout.kserve import cluster as requests
from rollout.kserve.login import login
from rollout.kserve.resources import CONFIG_MAP, HTTP_ROUTE, INFERENCE_SERVICE, Resource
from tests.kubernetes import refusals
from tests.kubernetes.access import service_account
from tests.kubernetes.trouble import Harm
from tests.rollout.kserve.objects import NAME, NAMESPACE, service

ACCOUNT = service_account(NAMESPACE, "pipeline")
WHO = f"system:serviceaccount:{NAMESPACE}:pipeline"


def pods(thing, number):
    """Ask for so many pods."""
    thing["spec"]["predictor"]["minReplicas"] = number


def test_an_object_is_changed_as_it_is_by_then(cluster, client):
    """Another writer is faster twice; what it wrote stays, and the change is made."""
    cluster.create(service())
    others = iter([5, 6])

    def edit(thing):
        number = next(others, None)
        if number is not None:
            live = cluster.get("InferenceService", NAME, NAMESPACE)
            cluster.put(
                {**live, "spec": {"predictor": {**live["spec"]["predictor"], "timeout": number}}}
            )
        pods(thing, 3)

    client.change(INFERENCE_SERVICE, NAME, edit)

    predictor = cluster.get("InferenceService", NAME, NAMESPACE)["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["timeout"]) == (3, 6)


def test_it_is_not_tried_for_ever(cluster, client):
    """Somebody is faster each time."""
    cluster.create(service())
    cluster.trouble(
        Harm.REFUSED,
        "patch",
        times=100,
        refusal=refusals.outdated(cluster.kind("InferenceService"), NAME),
    )

    with pytest.raises(
        ConflictError, match="somebody else changed InferenceService shop/classifier"
    ):
        client.change(INFERENCE_SERVICE, NAME, lambda thing: pods(thing, 3))

    assert [verb for verb, *_ in cluster.asked] == ["get"] * requests.TRIES


def test_nothing_is_sent_where_nothing_changes(cluster, client):
    """So what was carried out may be ordered again."""
    cluster.create(service())

    client.change(INFERENCE_SERVICE, NAME, lambda thing: pods(thing, 2))

    assert [verb for verb, *_ in cluster.asked] == ["get"]


def test_a_field_that_the_cluster_does_not_know_is_refused(cluster, client):
    """And not left out, as it is by default."""
    cluster.create(service())

    with pytest.raises(RolloutError, match=r'unknown field "spec\.canaries"'):
        client.change(INFERENCE_SERVICE, NAME, lambda thing: thing["spec"].update(canaries=[]))


def test_what_a_webhook_says_is_told(cluster, client):
    """It is no right that lacks, though its code is 403 as well."""
    cluster.create(service())
    why = "canary is only supported in Standard deployment mode"
    denied = refusals.denied("inferenceservice.kserve-webhook-server.validator", why)
    cluster.trouble(Harm.REFUSED, "patch", refusal=denied)

    with pytest.raises(RolloutError, match=why) as error:
        client.change(INFERENCE_SERVICE, NAME, lambda thing: pods(thing, 3))

    assert not isinstance(error.value, ForbiddenError)


@pytest.mark.parametrize(
    ("verb", "resource", "ask"),
    [
        ("get", INFERENCE_SERVICE, lambda client: client.get(INFERENCE_SERVICE, NAME)),
        ("list", HTTP_ROUTE, lambda client: client.list_all(HTTP_ROUTE)),
        ("patch", INFERENCE_SERVICE, lambda client: client.patch(INFERENCE_SERVICE, NAME, {})),
        (
            "create",
            CONFIG_MAP,
            lambda client: client.create(CONFIG_MAP, {"metadata": {"name": "x"}}),
        ),
        ("delete", CONFIG_MAP, lambda client: client.delete(CONFIG_MAP, "x")),
    ],
)
def test_a_right_that_lacks_is_named_with_the_rule_to_add(client_of, verb, resource, ask):
    """Who, what, on which kind of which group, and where."""
    with pytest.raises(ForbiddenError) as error:
        ask(client_of(ACCOUNT))

    told = str(error.value)
    assert told.startswith(f"{WHO} may not {verb} {resource.plural} of ")
    assert f"in namespace {NAMESPACE}" in told
    rule = f'{{apiGroups: ["{resource.group}"], resources: [{resource.plural}], verbs: [{verb}]}}'
    assert rule in told
    assert "\n" not in told


def test_the_rule_that_was_named_is_the_one_that_lacked(cluster, client_of):
    """With it in a Role the same request is taken."""
    cluster.create(service())
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "pipeline", "namespace": NAMESPACE},
        "rules": [
            {
                "apiGroups": ["serving.kserve.io"],
                "resources": ["inferenceservices"],
                "verbs": ["get"],
            }
        ],
    }
    cluster.bind(ACCOUNT, role)

    assert client_of(ACCOUNT).get(INFERENCE_SERVICE, NAME)["metadata"]["name"] == NAME


@pytest.mark.parametrize("harm", [Harm.LOST, Harm.UNHEARD, Harm.CUT])
def test_a_connection_that_is_lost_is_said(cluster, client, harm):
    """And nothing is known of what was asked; the next request is one as any."""
    cluster.create(service())
    cluster.trouble(harm, "get")

    with pytest.raises(
        UnreachableError, match="no answer from the cluster to get Inference"
    ) as error:
        client.get(INFERENCE_SERVICE, NAME)

    assert "object at 0x" not in str(error.value)
    assert client.get(INFERENCE_SERVICE, NAME)["metadata"]["name"] == NAME


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_has_no_time_is_asked_again_later(cluster, client, code):
    """Which is the rollout's business."""
    cluster.create(service())
    refusal = refusals.RefusedError(code, "TooManyRequests", "Too many requests")
    cluster.trouble(Harm.REFUSED, "get", refusal=refusal)

    with pytest.raises(UnreachableError, match="Too many requests"):
        client.get(INFERENCE_SERVICE, NAME)


def test_an_answer_is_not_waited_for_without_end(cluster, client, monkeypatch):
    """A server that took the request and says nothing."""
    monkeypatch.setattr(requests, "ANSWER_S", 0.2)
    cluster.create(service())
    cluster.trouble(Harm.HELD, "get")

    with pytest.raises(UnreachableError, match=r"[Tt]imed out"):
        client.get(INFERENCE_SERVICE, NAME)


def test_nobody_there_is_said_with_what_was_asked(tmp_path, cluster):
    """The port is free again."""
    kubeconfig = cluster.kubeconfig(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kubeconfig.write_text(kubeconfig.read_text().replace(cluster.url, f"http://127.0.0.1:{port}"))
    api, namespace = login(None, kubeconfig)

    with pytest.raises(UnreachableError, match="refused"):
        requests.Cluster(api, namespace).get(INFERENCE_SERVICE, NAME)


def test_a_token_that_nobody_knows(tmp_path, cluster):
    """Neither found nor forbidden: log in again."""
    kubeconfig = cluster.kubeconfig(tmp_path)
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace(text.partition("token: ")[2].split()[0], "stale"))
    api, namespace = login(None, kubeconfig)

    with pytest.raises(RolloutError, match="does not know these credentials"):
        requests.Cluster(api, namespace).get(INFERENCE_SERVICE, NAME)


def test_no_kubeconfig_is_one_line(tmp_path):
    """Which says what can be given."""
    with pytest.raises(RolloutError, match="--kubeconfig"):
        login(None, tmp_path / "none")


def test_a_context_that_is_not_there(tmp_path, cluster):
    """The same."""
    with pytest.raises(RolloutError, match="no way to a cluster"):
        login("production", cluster.kubeconfig(tmp_path))


def test_a_kind_that_the_cluster_lacks_has_no_objects(client):
    """Such as GRPCRoutes without that part of the Gateway API."""
    unknown = Resource("example.com", "v1", "things", "Thing")

    assert client.list_all(unknown) == []
    assert client.find(unknown, "x") is None
    with pytest.raises(NotFoundError, match="there is no Thing shop/x"):
        client.get(unknown, "x")
