"""The demo's digits, of two trainings: the alias moves, and the pod answers with the other one."""

from __future__ import annotations

import time

import httpx
import pytest

from examples import digits
from model_store.packaging import PackageRequest, package
from model_store.registry.promotion import promote
from tests.conftest import quiet
from tests.end_to_end.conftest import Pod
from tests.end_to_end.load import Load
from tests.registry.test_following import RAW, wait_for

TRAININGS = (2, 4)  # epochs


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two packages of the digits and an image of one."""
    folder = tmp_path_factory.mktemp("digits")
    scans = digits.render(folder / "digits", count=600)
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in digits.LABELS))
    made = []
    for epochs in TRAININGS:
        digits.export(digits.train(scans.train, epochs), folder / f"{epochs}.onnx")
        request = PackageRequest(
            source=folder / f"{epochs}.onnx",
            name="digits",
            labels=folder / "labels.txt",
            parity_images=folder / "digits" / "test",
            mean=(digits.MEAN,) * 3,
            std=(digits.STD,) * 3,
        )
        made.append(package(request, folder / "store", quiet))
    return made, scans.test[0].file.read_bytes()


def answered_by(pod: Pod, name: str, image: bytes) -> str:
    """The version that answers a request."""
    answer = httpx.post(f"{pod.url}/v2/models/{name}/infer", content=image, headers=RAW)
    length = int(answer.raise_for_status().headers["inference-header-content-length"])
    return str(httpx.Response(200, content=answer.content[:length]).json()["model_version"])


def test_the_other_training_answers_soon_after_the_alias_has_moved(
    put, registry, registry_server, name, trained, tmp_path, record_property
):
    """With the settings that come with it, under load, and no request is lost."""
    (first, second), image = trained
    put(first, alias="champion")
    put(second)
    where = ("--registry", registry_server.uri, "--cache", str(tmp_path / "cache"))
    pod = Pod(f"models:/{name}@champion", *where, "--follow", "--drain-delay-s", "0")
    try:
        load = Load(f"{pod.url}/v1/models/{name}:predict", image, clients=4)
        load.wait_for(100)
        began = time.monotonic()
        promote(registry, name, "2")
        wait_for(lambda: answered_by(pod, name, image) == "2", "version 2 does not answer", pod.log)
        took_s = time.monotonic() - began
        load.wait_for(100)
        outcomes = load.stop()
    finally:
        pod.close()

    record_property("alias_move_s", took_s)
    print(f"{took_s:.1f} s from the move of the alias to an answer; outcomes {dict(outcomes)}")
    assert set(outcomes) == {200}
