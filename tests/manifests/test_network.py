"""What the network policy lets in and out, against who has to come and go."""

from __future__ import annotations

import ipaddress

import pytest

from rollout.kserve.pair import candidate_name
from tests.manifests.kustomize import (
    OVERLAYS,
    SERVICE,
    deployments,
    only,
    overlay,
    selects,
    with_components,
)

# Where a pod goes, by the component that opens it: address or namespace, port, protocol.
EVERYWHERE = [
    ("169.254.20.10", 53, "UDP"),  # NodeLocal DNSCache
    ("10.0.0.10", 53, "TCP"),
    ("openshift-dns", 5353, "UDP"),
    ("203.0.113.1", 443, "TCP"),
]
OPENED = {
    "cloud-identity": [
        ("169.254.169.254", 80, "TCP"),  # GKE, Dataplane V2
        ("169.254.169.252", 988, "TCP"),  # GKE
        ("169.254.170.23", 80, "TCP"),  # EKS Pod Identity
    ],
    "registry": [("mlflow", 5000, "TCP")],
    "store-in-cluster": [("minio", 9000, "TCP"), ("mlflow", 5000, "TCP")],
}


def lets_out(policy, where, port, protocol):
    """As a CNI reads it: some rule has the peer (or none) and the port."""
    return any(
        {"port": port, "protocol": protocol} in rule["ports"]
        and ("to" not in rule or any(_is_at(peer, where) for peer in rule["to"]))
        for rule in policy["spec"]["egress"]
    )


def _is_at(peer, where):
    try:
        address = ipaddress.ip_address(where)
    except ValueError:
        return peer.get("namespaceSelector") == {}
    return "ipBlock" in peer and address in ipaddress.ip_network(peer["ipBlock"]["cidr"])


def lets_in(policy, namespace):
    """The ports that pods of another namespace reach."""
    ports = set()
    for rule in policy["spec"]["ingress"]:
        for peer in rule["from"]:
            for expression in peer.get("namespaceSelector", {}).get("matchExpressions", ()):
                if namespace in expression["values"]:
                    ports |= {each["port"] for each in rule["ports"]}
    return ports


@pytest.mark.parametrize("name", OVERLAYS)
def test_names_and_tls_are_within_reach_of_every_pod(name):
    """Whichever way the cluster answers for names."""
    policy = only(overlay(name), "NetworkPolicy")

    assert [way for way in EVERYWHERE if not lets_out(policy, *way)] == []


@pytest.mark.parametrize("component", OPENED)
def test_a_component_opens_what_it_says_and_nothing_else_does(component, tmp_path):
    """Closed without it."""
    (tmp_path / "without").mkdir()
    without = only(with_components(tmp_path / "without", "cpu"), "NetworkPolicy")
    opened = only(with_components(tmp_path, component), "NetworkPolicy")

    assert [way for way in OPENED[component] if lets_out(without, *way)] == []
    assert [way for way in OPENED[component] if not lets_out(opened, *way)] == []


def test_knatives_gateway_and_autoscaler_reach_its_queue_proxy(tmp_path):
    """Beside the container's own ports; in Standard mode there is no such proxy."""
    policy = only(with_components(tmp_path, "autoscaling-knative"), "NetworkPolicy")

    assert lets_in(policy, "kourier-system") >= {8012, 8112}
    assert lets_in(policy, "knative-serving") >= {8012, 8112, 9090, 9091}
    assert lets_in(only(overlay("production"), "NetworkPolicy"), "kserve") == {8080, 8081}


def selectors(objects):
    """Of the policy and of the budget: a pod that no policy selects is open to all."""
    return (
        only(objects, "NetworkPolicy")["spec"]["podSelector"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"],
    )


@pytest.mark.parametrize("components", [("cpu",), ("gpu-nvidia", "cpu-gpu-split")], ids="+".join)
def test_policy_and_budget_cover_what_serves_and_what_a_rollout_makes_beside_it(
    components, tmp_path
):
    """Both halves of a split too; and no other model's pods."""
    objects = with_components(tmp_path, *components)
    pods = [each["metadata"]["labels"] for each in deployments(objects)]

    for selector in selectors(objects):
        for labels in pods:
            for name in (labels[SERVICE], candidate_name(labels[SERVICE])):
                assert selects(selector, labels | {SERVICE: name})
            assert not selects(selector, labels | {SERVICE: "another"})
