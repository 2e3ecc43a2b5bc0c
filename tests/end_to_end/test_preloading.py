"""Images that a pod holds in memory, named by requests of every protocol."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image

from predictor.protocol.messages import message
from tests.conftest import COLOUR_SIZE, COLOURS, as_version, colour_image
from tests.end_to_end.conftest import START_S, Pod
from tests.end_to_end.test_grpc import infer
from tests.protocol.wire import binary, elements, sized

IMAGES = {f"sub/{colour}.jpg": colour_image(colour) for colour in COLOURS}
TOKEN = "sesame"
EVERY_NAME = [*IMAGES, "exact.npy", "large.npy", "broken.png"]
GOOD_NAMES = EVERY_NAME[:-1]
LABELS = [*COLOURS, "green", "blue"]
UNKNOWN = ["nobody.jpg", "../images/exact.npy", "/etc/passwd", "sub", "", "sub/../exact.npy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Encoded images, pixels of the network's size and of another one, and a broken file."""
    folder = tmp_path_factory.mktemp("preload") / "images"
    (folder / "sub").mkdir(parents=True)
    for name, image in IMAGES.items():
        (folder / name).write_bytes(image)
    for name, colour, size in (("exact", 1, COLOUR_SIZE), ("large", 2, 50)):
        pixels = np.zeros((size, size, 3), np.uint8)
        pixels[:, :, colour] = 200
        np.save(folder / f"{name}.npy", pixels)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return folder


@pytest.fixture(scope="module")
def preloading(colours, folder, tmp_path_factory) -> Iterator[Pod]:
    """A pod of two frontends that preloads the folder, and may load another version."""
    package = as_version(colours, 1, tmp_path_factory.mktemp("store"))
    as_version(colours, 2, package.path.parents[1])
    flags = ("--frontends", "2", "--repository-token", TOKEN, "--drain-delay-s", "0")
    running = Pod(package.path, "--preload", str(folder), *flags)
    yield running
    running.close()


def v2_json(*names: str) -> dict[str, Any]:
    """A v2 JSON request for preloaded images."""
    named = {"content_type": "ref"}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(names)], "parameters": named}
    return {"inputs": [{**tensor, "data": list(names)}]}


def infer_json(pod: Pod, *names: str) -> httpx.Response:
    """Ask over v2 REST in JSON."""
    return httpx.post(f"{pod.url}/v2/models/colours/infer", json=v2_json(*names))


def infer_binary(pod: Pod, *names: str, **parameters: object) -> httpx.Response:
    """Ask over v2 REST in the binary extension."""
    return post_binary(pod, elements(*map(str.encode, names)), len(names), **parameters)


def post_binary(pod: Pod, raw: bytes, images: int, **parameters: object) -> httpx.Response:
    """Send a raw tensor of so many elements."""
    size = {"binary_data_size": len(raw)}
    header = sized(raw, shape=[images, 1], parameters={**size, **parameters})
    body, headers = binary(header, raw)
    url = f"{pod.url}/v2/models/colours/infer"
    return httpx.post(url, content=body, headers=list(headers.items()))


def grpc_request(*names: str, raw: bool) -> Any:
    """A gRPC request for preloaded images."""
    request = message("ModelInferRequest")(model_name="colours")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=[len(names)])
    tensor.parameters["content_type"].string_param = "ref"
    encoded = [name.encode() for name in names]
    if raw:
        request.raw_input_contents.append(elements(*encoded))
    else:
        tensor.contents.bytes_contents.extend(encoded)
    return request


def predict(pod: Pod, *instances: object) -> list[dict[str, Any]]:
    """Ask over v1."""
    answer = httpx.post(f"{pod.url}/v1/models/colours:predict", json={"instances": list(instances)})
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def outputs(answer: httpx.Response) -> dict[str, list[Any]]:
    """The values of every output."""
    assert answer.status_code == 200, answer.text
    return {output["name"]: output["data"] for output in answer.json()["outputs"]}


def best_labels(answer: httpx.Response) -> list[str]:
    """The best label of every image."""
    return outputs(answer)["labels"][:: len(COLOURS)]


def test_the_folder_is_listed_with_sizes_and_digests(preloading, folder):
    """In order of the names, by whichever frontend answers."""
    answer = httpx.get(f"{preloading.url}/v2/preloaded")

    files = {name: (folder / name).read_bytes() for name in sorted(EVERY_NAME)}
    expected = [
        {"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in files.items()
    ]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "images": expected,
        "count": len(files),
        "bytes": sum(map(len, files.values())),
    }


def test_named_images_get_the_answer_that_their_bytes_get(preloading):
    """To the last digit of every score."""
    named = outputs(infer_json(preloading, *IMAGES))
    sent = outputs(post_binary(preloading, elements(*IMAGES.values()), len(IMAGES)))

    assert named == sent
    assert named["labels"][:: len(COLOURS)] == list(COLOURS)


@pytest.mark.parametrize("size", [COLOUR_SIZE, 50])
def test_named_pixels_get_the_answer_that_their_image_gets(preloading, folder, size):
    """Both those that are copied as they are and those that are resized first."""
    name = "exact.npy" if size == COLOUR_SIZE else "large.npy"
    png = io.BytesIO()
    Image.fromarray(np.load(folder / name)).save(png, "PNG")

    named = outputs(infer_json(preloading, name))

    assert named == outputs(post_binary(preloading, elements(png.getvalue()), 1))


def test_images_of_every_kind_and_size_go_in_one_request_of_every_form(preloading):
    """JSON, binary, gRPC typed and raw, v1."""
    assert best_labels(infer_json(preloading, *GOOD_NAMES)) == LABELS
    assert best_labels(infer_binary(preloading, *GOOD_NAMES, content_type="ref")) == LABELS
    typed = infer(preloading, grpc_request(*GOOD_NAMES, raw=False)).outputs[2].contents
    assert [label.decode() for label in typed.bytes_contents[:: len(COLOURS)]] == LABELS
    raw = infer(preloading, grpc_request(*GOOD_NAMES, raw=True)).raw_output_contents[2]
    assert raw.startswith(elements(b"red"))
    assert [p["label"] for p in predict(preloading, *({"ref": n} for n in GOOD_NAMES))] == LABELS


def test_many_pixels_of_the_networks_size_are_answered_in_one_request(preloading):
    """As many as a request may hold; they are copied, not decoded."""
    assert best_labels(infer_json(preloading, *["exact.npy"] * 256)) == ["green"] * 256


@pytest.mark.parametrize("name", UNKNOWN)
def test_a_name_that_is_not_listed_is_refused(preloading, name):
    """Over every protocol, like an image that cannot be decoded; nothing is read from a disk."""
    reason = f"image 1: no preloaded image {name!r}"

    for ask in (infer_json, lambda *asked: infer_binary(*asked, content_type="ref")):
        answer = ask(preloading, "exact.npy", name)
        assert (answer.status_code, answer.json()["error"]) == (400, reason)
    for raw in (True, False):
        with pytest.raises(grpc.RpcError) as refused:
            infer(preloading, grpc_request("exact.npy", name, raw=raw))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert refused.value.details() == reason


def test_v1_has_the_error_in_the_place_of_an_unknown_name(preloading):
    """The instances beside it are answered, whatever they bring."""
    first, second, third = predict(
        preloading, {"ref": "exact.npy"}, {"ref": "../passwd"}, {"ref": "sub/red.jpg"}
    )

    assert (first["label"], third["label"]) == ("green", "red")
    assert second == {"error": "no preloaded image '../passwd'"}


def test_a_preloaded_file_that_is_no_image_is_refused_when_it_is_asked_for(preloading):
    """It was read, not decoded."""
    answer = infer_json(preloading, "broken.png")

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image 0: ")


def test_bytes_that_are_no_name_are_refused(preloading):
    """Not UTF-8: no image has such a name."""
    answer = post_binary(preloading, elements(b"\xff.jpg"), 1, content_type="ref")

    assert answer.status_code == 400
    assert answer.json()["error"] == r"image 0: no preloaded image '\udcff.jpg'"


def test_a_frontend_that_is_replaced_has_the_images_too(preloading):
    """Both are killed, so whoever answers then was handed them anew."""
    before = httpx.get(f"{preloading.url}/v2/preloaded").json()
    victims = preloading.frontends()
    for victim in victims:
        victim.kill()
        victim.wait()

    answers = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=answers, timeout=START_S) as client:
        after = client.get(f"{preloading.url}/v2/preloaded").json()
        answer = client.post(f"{preloading.url}/v2/models/colours/infer", json=v2_json(*GOOD_NAMES))

    assert before == after
    assert best_labels(answer) == LABELS
    assert not {victim.pid for victim in victims} & {p.pid for p in preloading.frontends()}


def test_the_images_are_in_memory_once(preloading):
    """Both frontends have the supervisor's anonymous file mapped, for reading, and no other."""
    inodes = set()
    for frontend in preloading.frontends():
        maps = Path(f"/proc/{frontend.pid}/maps").read_text(encoding="utf-8").splitlines()
        mapped = [line.split() for line in maps if "memfd:millrace-preloaded" in line]
        assert [fields[1] for fields in mapped] == ["r--p"]
        inodes |= {fields[4] for fields in mapped}

    assert len(inodes) == 1


def test_another_version_has_the_images_too(preloading):
    """And the folder is not read again for it: what is there by now changes nothing."""
    shown = {"Authorization": f"Bearer {TOKEN}"}
    load = f"{preloading.url}/v2/repository/models/colours/load"
    asked = {"parameters": {"version": "2"}}
    loaded = httpx.post(load, json=asked, headers=shown, timeout=START_S)
    assert loaded.status_code == 200, loaded.text

    answer = infer_json(preloading, *GOOD_NAMES)

    assert answer.json()["model_version"] == "2"
    assert best_labels(answer) == LABELS


def test_a_pod_that_preloads_nothing_lists_nothing_and_says_so(pod):
    """With the flag that would change it."""
    assert httpx.get(f"{pod.url}/v2/preloaded").json() == {"images": [], "count": 0, "bytes": 0}
    answer = infer_json(pod, "exact.npy")
    assert answer.status_code == 400
    assert answer.json()["error"] == "image 0: this pod has preloaded no images (--preload)"


def test_a_folder_that_cannot_be_preloaded_stops_the_start(colours, folder):
    """With one line, and 2."""
    command = [sys.executable, "-m", "millrace", "serve", str(colours.path), "--preload"]
    flags = ["--http-port", "0", "--grpc-port", "0", "--preload-max-bytes", "100"]
    for path, words in ((folder, "preload_max_bytes"), (folder / "nowhere", "No such file")):
        ran = subprocess.run(
            [*command, str(path), *flags], capture_output=True, text=True, timeout=START_S
        )
        assert ran.returncode == 2
        assert ran.stderr.splitlines()[-1].startswith("millrace: preload: ")
        assert words in ran.stderr.splitlines()[-1]
