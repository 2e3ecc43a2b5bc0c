"""``millrace rollout`` as it is typed, on a cluster."""

from __future__ import annotations

import uuid

import pytest
import yaml
from click.testing import CliRunner

from millrace.cli import commands
from model_store.registry.promotion import set_alias
from model_store.registry.registering import register
from model_store.registry.versions import Registry
from tests.rollout.kserve.objects import NAME, NAMESPACE
from tests.rollout.kserve.rig import MODES, rigged
from tests.rollout.test_command import Command
from tests.rollout.web import Web

NOTHING = '{"status": "success", "data": {"resultType": "matrix", "result": []}}'


@pytest.fixture
def registry(registry_server) -> Registry:
    """A client of the server."""
    return Registry(registry_server.uri)


@pytest.fixture
def model(registry, colours) -> str:
    """Of four versions; the third is champion, and the fourth is challenger."""
    name = f"model-{uuid.uuid4().hex[:8]}"
    for _ in range(4):
        register(registry, colours, name, "", {})
    set_alias(registry, name, "champion", "3")
    set_alias(registry, name, "challenger", "4")
    return name


@pytest.fixture
def rig(clients):
    """A canary of KServe 0.20, which rolls out by a route of its own."""
    with rigged(MODES["canary"], clients) as rig:
        yield rig


@pytest.fixture
def prometheus():
    """One that scrapes no pod of ours."""
    web = Web()
    web.says("/api/v1/query", NOTHING, kind="application/json")
    yield web
    web.close()


def test_a_rollout_on_a_cluster_is_begun_watched_and_aborted(
    rig, registry, model, prometheus, tmp_path
):
    """Where nobody counts the requests, the share does not rise."""
    steps = [{"percent": 10, "hold_s": 0}, {"percent": 100}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"interval_s": 0.2, "steps": steps}))
    place = ["--kubeconfig", rig.cluster.kubeconfig(tmp_path, namespace=NAMESPACE)]
    known = ["--registry", registry.uri, "--cache", tmp_path / "cache"]
    measured = ["--prometheus", prometheus.url, "--plan", "plan.yaml"]

    rollout = Command(
        "start", NAME, f"models:/{model}@challenger", *place, *known, *measured, cwd=tmp_path
    )
    rollout.wait_for(f"{prometheus.url}: has nothing of version 4 of {NAME} in namespace shop")
    ran = CliRunner().invoke(commands, ["rollout", "status", NAME, *map(str, place)])
    assert ran.exit_code == 0, ran.output
    assert "share     10 % set" in ran.output
    assert "trouble   http://" in ran.output
    assert rig.shares() == {"3": 90, "4": 10}
    aborted = Command("abort", NAME, *place, *known, cwd=tmp_path)

    assert aborted.end() == 0, aborted.output
    assert rollout.end() == 1, rollout.output
    assert rig.shares() == {"3": 100}
    assert registry.aliases(model) == {"champion": "3"}


def test_an_abort_needs_neither_prometheus_nor_whoever_began_it(rig, registry, model, tmp_path):
    """The one that carried it out was killed."""
    (tmp_path / "plan.yaml").write_text("interval_s: 0.2")
    place = ["--kubeconfig", rig.cluster.kubeconfig(tmp_path, namespace=NAMESPACE)]
    known = ["--registry", registry.uri, "--cache", tmp_path / "cache"]
    uri = f"models:/{model}@challenger"

    unmeasured = Command("start", NAME, uri, *place, *known, cwd=tmp_path)
    assert unmeasured.end() == 2
    assert unmeasured.lines[-1].startswith("millrace: no Prometheus was found in the cluster")
    nowhere = ["--prometheus", "http://127.0.0.1:1", "--plan", "plan.yaml"]
    rollout = Command("start", NAME, uri, *place, *known, *nowhere, cwd=tmp_path)
    rollout.wait_for("Prometheus cannot be asked")
    rollout.kill()
    aborted = Command("abort", NAME, *place, *known, cwd=tmp_path)

    assert aborted.end() == 0, aborted.output
    assert rig.shares() == {"3": 100}
    assert registry.aliases(model) == {"champion": "3"}
