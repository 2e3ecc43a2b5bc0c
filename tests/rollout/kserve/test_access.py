"""A rollout does with the rights of manifests/components/pipeline-access, and needs each one."""

from __future__ import annotations

import contextlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rollout.errors import ForbiddenError, NotFoundError, UnfinishedError
from rollout.kserve.connect import Options, connect, open_ledger, prometheus_address
from rollout.kserve.ledger import ConfigMapLedger
from rollout.types import Standing
from tests.kubernetes.access import service_account
from tests.rollout.kserve.objects import CANDIDATE, HOST, NAME, NAMESPACE, from_registry, runtime
from tests.rollout.kserve.rig import MODES, rigged

COMPONENTS = Path(__file__).parents[3] / "manifests" / "components"
ACCOUNT = service_account(NAMESPACE, "millrace-pipeline")
PATH = re.compile(r"/apis?/?([^/]*?)/v[^/]+/namespaces/[^/]+/([^/?]+)")
# What each way takes besides pipeline-access.
WAYS = {
    "knative": (MODES["knative"], ()),
    "canary": (MODES["canary"], ()),
    "canary-keep-name": (MODES["canary-keep-name"], ()),
    "canary-weighed": (MODES["canary-weighed"], ()),
    "pair": (MODES["pair"], ("pipeline-access-candidate",)),
    "host": (
        replace(MODES["canary"], own_route=False, options=Options(host=HOST)),
        ("pipeline-access-route",),
    ),
}


def role(*components):
    """The rules of these components, as one Role."""
    rules = []
    for component in components:
        text = (COMPONENTS / component / "rbac.yaml").read_text(encoding="utf-8")
        for thing in yaml.safe_load_all(text):
            rules += thing.get("rules") or []
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "millrace-pipeline", "namespace": NAMESPACE},
        "rules": rules,
    }


def single(role):
    """What it allows, as (group, resource, verb)."""
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def whole_rollouts(rig, client):
    """One that is withdrawn, and one that is promoted, with the state of both."""
    ledger = ConfigMapLedger(client, NAME)
    mark = ledger.write("{}", None)
    for last in ("withdraw", "promote"):
        rig.carry_out(lambda place: place.launch(CANDIDATE), client)
        assert rig.place(client).readiness(CANDIDATE).standing is Standing.READY
        with rig.controller.held(), contextlib.suppress(UnfinishedError):
            rig.place(client).share(CANDIDATE, 100)  # for which pods have to be waited
        rig.carry_out(lambda place: place.share(CANDIDATE, 50), client)
        rig.place(client).direct("4")
        rig.place(client).public()
        rig.carry_out(lambda place, last=last: getattr(place, last)(CANDIDATE), client)
        mark = ledger.write("{}", mark)


def used(cluster):
    """What the service account has asked for."""
    found = set()
    for verb, path, user in cluster.asked:
        if user == ACCOUNT.name:
            group, resource = PATH.match(path).groups()
            found.add((group, resource, verb))
    return found


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_rollout_does_with_these_rights(clients, way):
    """Nothing is forbidden on the way there and back."""
    mode, more = WAYS[way]
    with rigged(mode, clients) as rig:
        rig.cluster.bind(ACCOUNT, role("pipeline-access", *more))

        whole_rollouts(rig, clients(rig.cluster, ACCOUNT))

        assert rig.place().stable() == "4"


def test_no_right_is_there_that_no_rollout_takes(clients, tmp_path):
    """All ways together use all of them."""
    taken = set()
    for mode, more in WAYS.values():
        with rigged(mode, clients) as rig:
            rig.cluster.bind(ACCOUNT, role("pipeline-access", *more))
            whole_rollouts(rig, clients(rig.cluster, ACCOUNT))
            taken |= used(rig.cluster)
    following = replace(MODES["canary"], options=Options(champion="3"))
    with rigged(following, clients, from_registry(model_dir="")) as rig:
        rig.cluster.put(runtime("--model_dir=models:/{{.Name}}@champion"))
        rig.cluster.bind(ACCOUNT, role("pipeline-access"))
        rig.place(clients(rig.cluster, ACCOUNT)).stable()
        options = Options(kubeconfig=rig.cluster.kubeconfig(tmp_path, ACCOUNT, NAMESPACE))
        prometheus_address(options=options)
        with pytest.raises(NotFoundError, match=f"in its namespace: {NAME}"):
            connect("nobody", options=options)
        taken |= used(rig.cluster)

    granted = single(role("pipeline-access", *(each for _, more in WAYS.values() for each in more)))
    # The weights of a GRPCRoute are set as an HTTPRoute's are; these CRDs have none.
    taken |= {each for each in granted if each[1] == "grpcroutes"}
    assert granted == taken


@pytest.mark.parametrize(
    ("way", "right"),
    [
        ("knative", ("serving.kserve.io", "inferenceservices", "get")),
        ("knative", ("serving.kserve.io", "inferenceservices", "patch")),
        ("knative", ("serving.knative.dev", "revisions", "get")),
        ("canary", ("", "configmaps", "get")),
        ("canary", ("", "configmaps", "create")),
        ("canary", ("", "configmaps", "patch")),
        ("canary", ("", "configmaps", "delete")),
        ("canary", ("apps", "deployments", "get")),
        ("canary", ("gateway.networking.k8s.io", "httproutes", "list")),
        ("canary", ("gateway.networking.k8s.io", "httproutes", "get")),
        ("canary", ("gateway.networking.k8s.io", "httproutes", "patch")),
        ("pair", ("serving.kserve.io", "inferenceservices", "create")),
        ("pair", ("serving.kserve.io", "inferenceservices", "delete")),
        ("host", ("gateway.networking.k8s.io", "httproutes", "create")),
    ],
)
def test_without_a_right_it_is_told_which(clients, way, right):
    """With the rule that its Role lacks."""
    mode, more = WAYS[way]
    group, resource, verb = right
    lacking = role("pipeline-access", *more)
    for rule in lacking["rules"]:
        if group in rule["apiGroups"] and resource in rule["resources"]:
            rule["verbs"] = [each for each in rule["verbs"] if each != verb]
    lacking["rules"] = [rule for rule in lacking["rules"] if rule["verbs"]]
    with rigged(mode, clients) as rig:
        rig.cluster.bind(ACCOUNT, lacking)

        with pytest.raises(ForbiddenError) as error:
            whole_rollouts(rig, clients(rig.cluster, ACCOUNT))

    told = str(error.value)
    assert f"{ACCOUNT.name} may not {verb} {resource}" in told
    assert f'add {{apiGroups: ["{group}"], resources: [{resource}], verbs: [{verb}]}}' in told


def test_connected_by_a_kubeconfig(clients, tmp_path):
    """Its namespace is the one that is meant; another may be said."""
    with rigged(MODES["canary"], clients) as rig:
        rig.cluster.bind(ACCOUNT, role("pipeline-access"))
        kubeconfig = rig.cluster.kubeconfig(tmp_path, ACCOUNT, NAMESPACE)

        place, ledger = connect(NAME, options=Options(kubeconfig=kubeconfig, context="fake"))

        assert place.stable() == "3"
        assert ledger.read() is None
        with pytest.raises(ForbiddenError, match="in namespace elsewhere"):
            connect(NAME, "elsewhere", Options(kubeconfig=kubeconfig))


def test_whoever_only_looks_needs_a_right_on_configmaps_alone(clients, tmp_path):
    """The state of a rollout, `millrace rollout status`."""
    with rigged(MODES["canary"], clients) as rig:
        reader = role("pipeline-access")
        reader["rules"] = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
        rig.cluster.bind(ACCOUNT, reader)
        ConfigMapLedger(rig.client, NAME).write('{"phase": "step"}', None)
        options = Options(kubeconfig=rig.cluster.kubeconfig(tmp_path, ACCOUNT, NAMESPACE))

        kept = open_ledger(NAME, options=options).read()

        assert kept is not None
        assert kept.state == '{"phase": "step"}'


def test_prometheus_is_where_its_operator_says(clients, tmp_path):
    """In the namespace itself, or in `monitoring`, as far as one may look."""
    with rigged(MODES["canary"], clients) as rig:
        rig.cluster.bind(ACCOUNT, role("pipeline-access"))
        options = Options(kubeconfig=rig.cluster.kubeconfig(tmp_path, ACCOUNT, NAMESPACE))
        admin = Options(kubeconfig=rig.cluster.kubeconfig(tmp_path, namespace=NAMESPACE))
        assert prometheus_address(options=options) is None

        found = {}
        for namespace in ("monitoring", NAMESPACE):
            rig.cluster.namespace(namespace)
            metadata = {"name": "prometheus-operated", "namespace": namespace}
            spec = {"ports": [{"port": 9090, "name": "web"}], "clusterIP": "None"}
            rig.cluster.create(
                {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}
            )
            found[namespace] = (
                prometheus_address(options=options),
                prometheus_address(options=admin),
            )

        address = "http://prometheus-operated.{}.svc.cluster.local:9090"
        assert found == {
            "monitoring": (None, address.format("monitoring")),
            NAMESPACE: (address.format(NAMESPACE), address.format(NAMESPACE)),
        }
