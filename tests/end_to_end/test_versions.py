"""A model's versions change while it serves: beside each other, proven first, nothing lost."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import grpc
import httpx
import pytest

from model_store.package import ModelPackage
from predictor.protocol.messages import SERVICE, message
from tests.conftest import as_version, colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load

TOKEN = "open sesame"
SHOWN = {"Authorization": f"Bearer {TOKEN}"}
MODEL = "/v2/models/colours"
REPOSITORY = "/v2/repository/models/colours"
RAW = {"Inference-Header-Content-Length": "0"}
RED = colour_image("red")


@pytest.fixture
def versions(colours: ModelPackage, tmp_path: Path) -> list[ModelPackage]:
    """Versions 1, 2 and 3 of one model, side by side in a store; the answers of 3 are wrong."""
    first, *others = colours.manifest.golden
    wrong = (first.model_copy(update={"indices": first.indices[::-1]}), *others)
    return [
        as_version(colours, 1, tmp_path),
        as_version(colours, 2, tmp_path),
        as_version(colours, 3, tmp_path, golden=wrong),
    ]


@pytest.fixture
def pod(start, versions) -> Pod:
    """Serves version 1."""
    return start(versions[0], "--repository-token", TOKEN, "--frontends", "2", "--instances", "2")


def control(pod: Pod, action: str, **parameters: object) -> httpx.Response:
    """Load or unload."""
    body = {"parameters": parameters}
    return httpx.post(f"{pod.url}{REPOSITORY}/{action}", headers=SHOWN, json=body, timeout=60)


def answered_by(pod: Pod, path: str = MODEL) -> str:
    """The version that answers one request."""
    answer = httpx.post(f"{pod.url}{path}/infer", content=RED, headers=RAW)
    answer.raise_for_status()
    length = int(answer.headers["inference-header-content-length"])
    return httpx.Response(200, content=answer.content[:length]).json()["model_version"]


def shares(pod: Pod, requests: int) -> Counter[str]:
    """Who answers so many requests on one connection, and so in one frontend."""
    with httpx.Client(base_url=pod.url) as client:
        answers = [client.post(f"{MODEL}/infer", content=RED, headers=RAW) for _ in range(requests)]
    lengths = [int(answer.headers["inference-header-content-length"]) for answer in answers]
    heads = [answer.content[:length] for answer, length in zip(answers, lengths, strict=True)]
    return Counter(httpx.Response(200, content=head).json()["model_version"] for head in heads)


def test_a_new_version_takes_over_under_load_without_an_error(pod):
    """Forth and back: every request is answered 200; the old instances are gone."""
    before = {process.pid for process in pod.instances()}
    load = Load(f"{pod.url}/v1/models/colours:predict", RED, clients=16)
    load.wait_for(100)

    assert control(pod, "load", version="2").json() == {"name": "colours", "load": True}
    assert {answered_by(pod) for _ in range(10)} == {"2"}
    load.wait_for(100)
    assert control(pod, "load", version="1").status_code == 200
    load.wait_for(100)

    assert set(load.stop()) == {200}
    assert {answered_by(pod) for _ in range(10)} == {"1"}
    assert len(pod.instances()) == 2
    assert before.isdisjoint(process.pid for process in pod.instances())
    assert httpx.get(f"{pod.url}{MODEL}").json()["versions"] == ["1"]
    assert httpx.get(f"{pod.url}{MODEL}/versions/2/ready").status_code == 404


def test_a_version_that_fails_its_golden_check_takes_no_traffic(pod):
    """400 with the reason; the old version answers as if nothing had been."""
    load = Load(f"{pod.url}/v1/models/colours:predict", RED, clients=4)
    load.wait_for(20)

    refused = control(pod, "load", version="3")

    assert refused.status_code == 400
    assert "golden check failed" in refused.json()["error"]
    load.wait_for(20)
    assert set(load.stop()) == {200}
    assert httpx.get(f"{pod.url}{MODEL}").json()["versions"] == ["1"]
    assert len(pod.instances()) == 2
    metrics = httpx.get(f"{pod.url}/metrics").text
    assert 'millrace_requests_total{code="200",model="colours",protocol="v1",version="3"}' not in (
        metrics
    )


def test_two_versions_share_the_requests_as_told(pod):
    """To the request, on each frontend; changed while they serve; each one can be asked by name."""
    assert control(pod, "load", version="2", traffic=30).status_code == 200

    assert shares(pod, 100) == {"1": 70, "2": 30}
    told = httpx.get(f"{pod.url}{REPOSITORY}/traffic", headers=SHOWN).json()
    assert told == {"name": "colours", "traffic": {"1": 70, "2": 30}}
    assert answered_by(pod, f"{MODEL}/versions/2") == "2"
    assert answered_by(pod, f"{MODEL}/versions/1") == "1"
    assert httpx.get(f"{pod.url}{MODEL}").json()["versions"] == ["1", "2"]

    changed = httpx.post(
        f"{pod.url}{REPOSITORY}/traffic", headers=SHOWN, json={"traffic": {"1": 0, "2": 100}}
    )
    assert changed.json()["traffic"] == {"1": 0, "2": 100}
    assert shares(pod, 20) == {"2": 20}
    assert answered_by(pod, f"{MODEL}/versions/1") == "1"

    stats = httpx.get(f"{pod.url}{MODEL}/stats").json()["model_stats"]
    assert [entry["version"] for entry in stats] == ["1", "2"]
    assert stats[1]["inference_count"] >= 30


def test_unloading_one_of_two_versions_leaves_the_requests_to_the_other(pod):
    """Under load, and without an error."""
    control(pod, "load", version="2", traffic=50).raise_for_status()
    load = Load(f"{pod.url}/v1/models/colours:predict", RED, clients=8)
    load.wait_for(50)

    assert control(pod, "unload", version="1").status_code == 200

    load.wait_for(50)
    assert set(load.stop()) == {200}
    assert shares(pod, 10) == {"2": 10}
    assert len(pod.instances()) == 2


def test_what_replaces_a_frontend_knows_both_versions_and_their_shares(start, versions):
    """A frontend that dies while two versions stand side by side costs only its connections."""
    pod = start(versions[0], "--repository-token", TOKEN)
    control(pod, "load", version="2", traffic=25).raise_for_status()
    victim = pod.frontends()[0]

    victim.kill()
    victim.wait()
    while httpx.get(f"{pod.url}/v2/health/ready").status_code != 200:
        pass

    while answered_by(pod, f"{MODEL}/versions/2") != "2":
        pass
    assert shares(pod, 40) == {"1": 30, "2": 10}


def test_an_instance_of_a_canary_that_dies_costs_no_request(pod):
    """Its images are run again by the other one of its version."""
    control(pod, "load", version="2", traffic=50).raise_for_status()
    load = Load(f"{pod.url}/v1/models/colours:predict", RED, clients=8)
    load.wait_for(50)

    for victim in pod.instances()[-2:]:
        victim.kill()
    load.wait_for(200)

    assert set(load.stop()) == {200}


def test_grpc_loads_a_version_beside_and_unloads_it(pod):
    """By Triton's messages, with the same parameters."""
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    with grpc.insecure_channel(pod.grpc) as channel:

        def call(rpc: str, **content: object) -> object:
            request = message(f"{rpc}Request")(**content)
            method = channel.unary_unary(
                f"/{SERVICE}/{rpc}",
                request_serializer=message(f"{rpc}Request").SerializeToString,
                response_deserializer=message(f"{rpc}Response").FromString,
            )
            return method(request, metadata=metadata, timeout=60)

        parameters = {"version": {"string_param": "2"}, "traffic": {"int64_param": 40}}
        call("RepositoryModelLoad", model_name="colours", parameters=parameters)
        index = call("RepositoryIndex")
        ready = call("ModelReady", name="colours", version="2").ready
        call(
            "RepositoryModelUnload",
            model_name="colours",
            parameters={"version": {"string_param": "2"}},
        )
        left = call("ModelMetadata", name="colours").versions

    assert [(m.version, m.state) for m in index.models] == [("1", "READY"), ("2", "READY")]
    assert ready
    assert list(left) == ["1"]


REFUSED = (
    ("load", {"parameters": {"version": "9"}}, "no version '9' beside"),
    ("load", {"parameters": {"version": "../1"}}, "no version '../1' beside"),
    ("load", {"parameters": {"version": 2}}, "version must be a text"),
    ("load", {"parameters": {"version": "2", "traffic": 101}}, "0 to 100"),
    ("load", {"parameters": [1]}, "parameters must be an object"),
    ("unload", {"parameters": {"version": "2"}}, "version 2 is not loaded"),
    ("traffic", {"traffic": {"1": 90}}, "100 in all"),
    ("traffic", {"traffic": {"1": 50, "2": 50}}, "version 2 is not loaded"),
    ("traffic", {"traffic": [100]}, "100 in all"),
    ("traffic", {}, "100 in all"),
)


def test_what_cannot_be_done_is_said_and_changes_nothing(pod):
    """400 with the reason; version 1 answers on."""
    for action, body, told in REFUSED:
        answer = httpx.post(f"{pod.url}{REPOSITORY}/{action}", headers=SHOWN, json=body)

        assert (answer.status_code, told in answer.text) == (400, True), (body, answer.text)
    assert shares(pod, 5) == {"1": 5}


def test_loads_at_once_are_done_one_after_the_other(pod):
    """Each is answered, and the last one holds."""
    told: list[int] = []

    def load(version: str) -> None:
        told.append(control(pod, "load", version=version).status_code)

    clients = [threading.Thread(target=load, args=(version,)) for version in ("2", "1", "2")]
    for client in clients:
        client.start()
    for client in clients:
        client.join()

    assert told == [200, 200, 200]
    assert len(pod.instances()) == 2
    assert len(httpx.get(f"{pod.url}{MODEL}").json()["versions"]) == 1
