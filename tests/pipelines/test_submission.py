"""The pipeline handed to a KFP server: what it gets, and what is said when it does not take it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from millrace.pipeline import command
from tests.pipelines.kfp_server import TOKEN, KfpServer, running
from tests.registry.server import free_port


@pytest.fixture
def server():
    """A KFP server."""
    with running() as found:
        yield found


def submit(host: str, *more: str) -> tuple[int, str]:
    """``millrace pipeline submit``: exit code and what it printed."""
    words = ["submit", "/mnt/millrace/n.onnx", "--name", "n", "--labels", "/mnt/millrace/l.txt"]
    words += ["--parity-images", "/mnt/millrace/images", "--dataset", "/mnt/millrace/test.zip"]
    words += ["--service", "n", "--host", host, *more]
    ran = CliRunner().invoke(command, words)
    return ran.exit_code, ran.output


def test_a_server_gets_the_pipeline_its_parameters_and_who_runs_it(server: KfpServer, tmp_path):
    """It is the pipeline that a compiler writes, with what pods are given."""
    (tmp_path / "gate.yaml").write_text("absolute: {top1: {at_least: 0.9}}\n")
    gate = str(tmp_path / "gate.yaml")

    code, said = submit(server.url, "--gate", gate, "--namespace", "shop", "--cpus", "3")

    assert code == 0, said
    assert f"{server.url}/#/runs/details/r1" in said
    (run,) = server.runs
    assert run["service_account"] == "millrace-pipeline"
    assert server.experiments[run["experiment_id"]]["display_name"] == "millrace"
    given = run["runtime_config"]["parameters"]
    assert given["source"] == "/mnt/millrace/n.onnx"
    assert given["datasets"] == ["/mnt/millrace/test.zip"]
    assert given["place"] == {"service": "n", "namespace": "shop"}
    assert given["gate"] == "absolute: {top1: {at_least: 0.9}}\n"
    assert "registry" not in given
    spec = run["pipeline_spec"]
    container = spec["pipeline_spec"]["deploymentSpec"]["executors"]["exec-gate"]["container"]
    assert container["resources"]["resourceCpuLimit"] == "3"
    pods = spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods["exec-rollout"]["secretAsEnv"][0]["secretName"] == "millrace-registry"


def test_the_same_experiment_is_used_again(server: KfpServer):
    """By its name."""
    assert [submit(server.url)[0], submit(server.url, "--json")[0]] == [0, 0]
    assert len(server.experiments) == 1
    assert len(server.runs) == 2


def test_the_token_comes_from_a_file(server: KfpServer, tmp_path):
    """And is asked for where the server wants one."""
    server.wants_token = True
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    code, said = submit(server.url)
    assert (code, server.runs) == (2, [])
    assert "name a token with --token-file" in said

    code, said = submit(server.url, "--token-file", str(tmp_path / "token"), "--json")
    assert code == 0, said
    assert json.loads(said.splitlines()[-1])["run_id"] == "r1"


def test_credentials_in_the_registrys_address_are_not_submitted(server: KfpServer):
    """KFP shows parameters to everybody; there is a Secret."""
    code, said = submit(server.url, "--registry", "https://me:hidden@mlflow.example")
    assert (code, server.runs) == (2, [])
    assert "leave name and password out: millrace-registry gives them" in " ".join(said.split())
    assert "hidden" not in said


def test_credentials_in_the_address_of_prometheus_are_not_submitted(server: KfpServer):
    """It is a parameter like any other."""
    code, said = submit(server.url, "--prometheus", "https://me:hidden@prometheus.example")
    assert (code, server.runs) == (2, [])
    assert "prometheus: leave name and password out" in " ".join(said.split())
    assert "prometheus_token_file names a file" in " ".join(said.split())
    assert "hidden" not in said


def test_pods_may_keep_their_names(server: KfpServer):
    """As `millrace rollout start --keep-name` has it."""
    code, said = submit(server.url, "--keep-name")
    assert code == 0, said
    place = server.runs[0]["runtime_config"]["parameters"]["place"]
    assert place == {"service": "n", "keep_name": "true"}


def test_a_refusal_is_told_in_the_servers_words(server: KfpServer):
    """In one line."""
    server.refuses = "this namespace takes no runs"
    code, said = submit(server.url)
    assert code == 2
    assert said == f"millrace: {server.url}: 400: this namespace takes no runs\n"


@pytest.mark.parametrize("host", ["kfp", f"http://127.0.0.1:{free_port()}"])
def test_a_server_that_is_not_there_is_said_at_once(host):
    """KFP's own client would take half a minute."""
    code, said = submit(host)
    assert code == 2
    assert host in said
    assert len(said.splitlines()) == 1


def test_a_token_that_cannot_be_read_is_said(server: KfpServer, tmp_path):
    """With its file."""
    code, said = submit(server.url, "--token-file", str(tmp_path / "none"))
    assert code == 2
    assert "none: the token cannot be read" in said
