"""Index, load and unload: behind a token, and without losing a request."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import grpc
import httpx
import pytest

from model_store.package import load_package
from predictor.protocol.messages import SERVICE, message
from tests.conftest import colour_image
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load

TOKEN = "open sesame"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
FLAGS = ("--repository-token", TOKEN, "--frontends", "2", "--instances", "2")
INDEX = "/v2/repository/index"
LOAD = "/v2/repository/models/colours/load"
UNLOAD = "/v2/repository/models/colours/unload"


@pytest.mark.parametrize("path", [INDEX, LOAD, UNLOAD])
def test_without_a_token_in_the_settings_the_repository_is_off(pod, path):
    """501, whatever the client shows; and the extension is not advertised."""
    answer = httpx.post(f"{pod.url}{path}", headers={"Authorization": "Bearer guess"})

    assert answer.status_code == 501
    assert "repository_token" in answer.json()["error"]
    assert "model_repository" not in httpx.get(f"{pod.url}/v2").json()["extensions"]


def test_only_the_token_opens_it(start, colours):
    """None, another one, and another scheme are all 401."""
    pod = start(colours, *FLAGS)
    for headers in (
        {},
        {"Authorization": "Bearer open"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
    ):
        for path in (INDEX, LOAD, UNLOAD):
            answer = httpx.post(f"{pod.url}{path}", headers=headers)
            assert answer.status_code == 401, (headers, path)
            assert answer.headers["www-authenticate"] == "Bearer"

    assert httpx.get(f"{pod.url}/v2/health/ready").status_code == 200
    opened = httpx.post(f"{pod.url}{INDEX}", headers=AUTHORIZED, json={"ready": True})
    assert opened.json() == [{"name": "colours", "version": "1", "state": "READY", "reason": ""}]


def test_another_model_is_not_in_the_repository(start, colours):
    """404 with its name, as on every other route, also over gRPC."""
    pod = start(colours, *FLAGS)
    answer = httpx.post(f"{pod.url}/v2/repository/models/nobody/load", headers=AUTHORIZED)

    assert (answer.status_code, answer.json()["error"]) == (404, "no model 'nobody' here")
    with grpc.insecure_channel(pod.grpc) as channel:
        load = channel.unary_unary(f"/{SERVICE}/RepositoryModelLoad")
        request = message("RepositoryModelLoadRequest")(model_name="nobody").SerializeToString()
        with pytest.raises(grpc.RpcError) as refused:
            load(request, metadata=(("authorization", f"Bearer {TOKEN}"),))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


def test_an_unloaded_model_is_not_ready_and_gives_its_memory_back(start, colours):
    """Every frontend says so; there is no instance left; loading brings all of it back."""
    pod = start(colours, *FLAGS)

    assert httpx.post(f"{pod.url}{UNLOAD}", headers=AUTHORIZED).status_code == 200
    assert pod.instances() == []
    for _ in range(10):  # enough to meet both frontends
        assert httpx.get(f"{pod.url}/v2/models/colours/ready").status_code == 503
        refused = predict(pod)
        assert (refused.status_code, refused.json()["error"]) == (503, "the model is unloaded")
    index = httpx.post(f"{pod.url}{INDEX}", headers=AUTHORIZED).json()
    assert index[0]["state"] == "UNAVAILABLE"
    assert httpx.post(f"{pod.url}{INDEX}", headers=AUTHORIZED, json={"ready": True}).json() == []
    assert httpx.get(f"{pod.url}/v2/health/live").status_code == 200

    assert httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED).status_code == 200
    for _ in range(10):
        assert predict(pod).status_code == 200
    assert len(pod.instances()) == 2


def test_unloading_under_load_answers_all_that_was_accepted(start, colours):
    """Requests are answered or refused with 503; none fails, none hangs."""
    pod = start(colours, *FLAGS)
    load = Load(f"{pod.url}/v1/models/colours:predict", colour_image("red"), clients=16)
    load.wait_for(100)

    for _ in range(3):
        assert httpx.post(f"{pod.url}{UNLOAD}", headers=AUTHORIZED, timeout=60).status_code == 200
        load.wait_for(50, 503)
        assert httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60).status_code == 200
        load.wait_for(100)

    assert {200, 503} == set(load.stop())


def test_a_frontend_started_while_the_model_is_unloaded_knows_it(start, colours):
    """What replaces a killed frontend refuses as the others do, and serves after a load."""
    pod = start(colours, "--repository-token", TOKEN)
    httpx.post(f"{pod.url}{UNLOAD}", headers=AUTHORIZED).raise_for_status()

    victim = pod.frontends()[0]
    victim.kill()
    victim.wait()

    while predict(pod).json()["error"] != "the model is unloaded":
        pass  # it says "no instance is ready" until it has been told
    httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60).raise_for_status()
    assert predict(pod).status_code == 200


def test_a_load_that_fails_as_nobody_foresaw_is_answered(start, colours, tmp_path):
    """Whoever asked does not wait for ever, and the next load is carried out."""
    pod, labels = unloaded_copy(start, colours, tmp_path)
    whole = labels.read_bytes()
    labels.unlink()
    labels.symlink_to(labels)

    refused = httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60)

    assert refused.status_code == 400
    labels.unlink()
    labels.write_bytes(whole)
    httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60).raise_for_status()


def test_a_stop_gives_up_a_load_that_hangs(start, colours):
    """The client is told, and the pod does not wait for instances it will not need."""
    flags = ("--repository-token", TOKEN, "--drain-delay-s", "0", "--drain-timeout-s", "3600")
    pod = start(colours, *flags)
    httpx.post(f"{pod.url}{UNLOAD}", headers=AUTHORIZED).raise_for_status()
    told: list[httpx.Response] = []

    def load() -> None:
        told.append(httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60))

    client = threading.Thread(target=load)
    client.start()
    while not (started := pod.instances()):
        pass
    started[0].suspend()

    code = pod.stop()
    client.join()

    assert code == 0
    assert (told[0].status_code, "stopping" in told[0].json()["error"]) == (400, True)


def test_a_package_that_was_damaged_meanwhile_is_not_loaded(start, colours, tmp_path):
    """400 with the reason; the pod lives on, not ready, and loads once the package is whole."""
    pod, labels = unloaded_copy(start, colours, tmp_path)
    whole = labels.read_bytes()
    labels.write_bytes(b"mauve\n")

    refused = httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED)

    assert refused.status_code == 400
    assert "labels.txt" in refused.json()["error"]
    assert httpx.get(f"{pod.url}/v2/health/ready").status_code == 503
    labels.write_bytes(whole)
    httpx.post(f"{pod.url}{LOAD}", headers=AUTHORIZED, timeout=60).raise_for_status()
    assert predict(pod).status_code == 200


def unloaded_copy(start, colours, folder: Path) -> tuple[Pod, Path]:
    """A pod whose model is unloaded, and a file of its package that may be damaged."""
    copy = folder / "colours" / "1"
    shutil.copytree(colours.path, copy)
    pod = start(load_package(copy), "--repository-token", TOKEN)
    httpx.post(f"{pod.url}{UNLOAD}", headers=AUTHORIZED).raise_for_status()
    return pod, copy / "labels.txt"


def predict(pod) -> httpx.Response:
    """One image, on a connection of its own."""
    return httpx.post(
        f"{pod.url}/v1/models/colours:predict",
        content=colour_image("red"),
        headers={"Content-Type": "image/jpeg"},
    )
