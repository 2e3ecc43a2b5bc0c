"""Images, labels, and the requests made of them."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest

from loadgen.errors import LoadError
from loadgen.form import PROTOCOLS, Form
from loadgen.images import Image, Right, held_images, read_images
from loadgen.inference import message
from loadgen.labels import with_labels
from loadgen.requests import Request, render

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
JPEGS = (Image("a.jpg", b"first"), Image("b.jpg", b"second"), Image("c.jpg", b"third"))


def body_of(request: Request) -> dict:
    """The JSON body."""
    return json.loads(bytes(request.body))


def header(request: Request, name: str) -> str | None:
    """One header's value, as a server would read it."""
    lines = request.head("pod:80").decode().split("\r\n")[1:]
    values = dict(line.split(": ", 1) for line in lines if line)
    return values.get(name)


def test_folders_are_read_at_any_depth_in_the_order_of_names(tmp_path):
    """Other files are left alone."""
    for name in ("b/2.JPG", "a/1.png", "a/notes.txt", "c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")

    images = read_images([tmp_path])

    expected = [str(tmp_path / name) for name in ("a/1.png", "b/2.JPG", "c.webp")]
    assert [image.name for image in images] == expected


def test_npy_files_are_pixels(tmp_path):
    """Of uint8 (H, W, 3), and nothing else."""
    np.save(tmp_path / "good.npy", PIXELS)
    np.save(tmp_path / "bad.npy", PIXELS.astype(float))

    (image,) = read_images([tmp_path / "good.npy"])

    assert np.array_equal(image.content, PIXELS)
    with pytest.raises(LoadError, match="must be uint8"):
        read_images([tmp_path / "bad.npy"])


@pytest.mark.parametrize("make", ["missing", "empty", "no images", "pickled"])
def test_what_cannot_be_read_is_named(tmp_path, make):
    """One line, with the path."""
    path = tmp_path / "it.jpg"
    if make == "empty":
        path.touch()
    elif make == "no images":
        path = tmp_path / "folder"
        path.mkdir()
    elif make == "pickled":
        path = tmp_path / "it.npy"
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(LoadError, match=path.name):
        read_images([path])


def test_labels_come_from_a_table(tmp_path):
    """By paths relative to it, or by names; with indices, labels or both."""
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,accepted_class_indices,accepted_labels\nin/a.jpg,281 282,tabby|tiger cat\nb.jpg,7,\n"
    )
    images = [Image(str(tmp_path / "in" / "a.jpg"), b"x"), Image("far/b.jpg", None)]

    labelled = with_labels([*images, Image("c.jpg", b"x")], str(table))

    cat = Right(frozenset({281, 282}), frozenset({"tabby", "tiger cat"}))
    assert [image.right for image in labelled] == [cat, Right(frozenset({7})), None]


def test_labels_come_from_folders():
    """As data sets are often laid out."""
    (labelled,) = with_labels([Image("cifar10/cat/000.png", b"x")], "folders")

    assert labelled.right == Right(labels=frozenset({"cat"}))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,label\na,b\n", "need the columns file"),
        ("file,accepted_labels\nz.jpg,cat\n", "names none of the 1 images"),
        ("file,accepted_class_indices\na.jpg,cat\n", "is no number"),
    ],
)
def test_a_table_that_fits_nothing_is_refused(tmp_path, text, reason):
    """Rather than checking no answer."""
    (tmp_path / "labels.csv").write_text(text)

    with pytest.raises(LoadError, match=reason):
        with_labels([Image("a.jpg", b"x")], str(tmp_path / "labels.csv"))


def test_v2_puts_the_images_behind_a_json_header():
    """Elements with their lengths, little-endian."""
    (request,) = render(JPEGS[:2], Form("v2", "m", images_per_request=2))

    length = int(header(request, "Inference-Header-Content-Length"))
    head, tensor = json.loads(request.body[:length]), request.body[length:]
    assert request.start == b"POST /v2/models/m/infer HTTP/1.1\r\n"
    assert header(request, "Content-Length") == str(len(request.body))
    assert tensor == struct.pack("<I", 5) + b"first" + struct.pack("<I", 6) + b"second"
    (given,) = head["inputs"]
    assert (given["shape"], given["datatype"]) == ([2], "BYTES")
    assert given["parameters"] == {"binary_data_size": len(tensor)}
    assert [output["name"] for output in head["outputs"]] == ["indices", "scores"]


def test_the_json_protocols_carry_base64():
    """v2 says so; v1 has its own place for it."""
    (v2,) = render(JPEGS[:1], Form("v2-json", "m"))
    (v1,) = render(JPEGS[:1], Form("v1", "m"))
    encoded = base64.b64encode(b"first").decode()

    (given,) = body_of(v2)["inputs"]
    assert (given["data"], given["parameters"]) == ([encoded], {"content_type": "base64"})
    assert body_of(v1) == {"instances": [{"image_bytes": {"b64": encoded}}]}


def test_v1_raw_is_the_image_itself():
    """One a request."""
    (request,) = render(JPEGS[:1], Form("v1-raw", "m"))

    assert request.body == b"first"
    with pytest.raises(LoadError, match="one image a request"):
        render(JPEGS, Form("v1-raw", "m", images_per_request=2))


def test_grpc_is_a_message_with_raw_contents():
    """The same elements as in v2's binary extension."""
    (request,) = render(JPEGS[:1], Form("grpc", "m", priority=2))

    call = message("ModelInferRequest").FromString(request.body)
    assert (call.model_name, call.parameters["priority"].int64_param) == ("m", 2)
    assert (call.inputs[0].datatype, list(call.inputs[0].shape)) == ("BYTES", [1])
    assert list(call.raw_input_contents) == [struct.pack("<I", 5) + b"first"]


@pytest.mark.parametrize("protocol", ["v2", "v2-json", "grpc"])
def test_held_images_are_named_and_not_sent(protocol):
    """Under the content type ``ref``."""
    (request,) = render(held_images(["cats/1.jpg"]), Form(protocol, "m"))

    assert b"cats/1.jpg" in request.body
    assert b"ref" in request.body
    if protocol == "v2-json":
        (given,) = body_of(request)["inputs"]
        assert given["data"] == ["cats/1.jpg"]
        assert given["parameters"] == {"content_type": "ref"}


@pytest.mark.parametrize("protocol", ["v1", "v1-raw"])
def test_v1_cannot_name_held_images(protocol):
    """It says which protocols can."""
    with pytest.raises(LoadError, match="use v2 or grpc"):
        render(held_images(["1.jpg"]), Form(protocol, "m"))


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"v1-raw"}))
def test_pixels_go_as_a_tensor(protocol):
    """Of uint8, all images of a request of one size."""
    (request,) = render([Image("p", PIXELS)] * 2, Form(protocol, "m", images_per_request=2))

    if protocol in ("v2", "grpc"):
        assert PIXELS.tobytes() * 2 in request.body
    elif protocol == "v2-json":
        (given,) = body_of(request)["inputs"]
        assert (given["datatype"], given["shape"]) == ("UINT8", [2, 2, 3, 3])
        assert given["data"] == PIXELS.ravel().tolist() * 2
    else:
        assert body_of(request)["instances"] == [PIXELS.tolist()] * 2


def test_every_image_is_sent_and_the_last_request_is_filled_from_the_front():
    """Images of different kinds share no request."""
    images = [*JPEGS, Image("p", PIXELS)]

    requests = render(images, Form("v2", "m", images_per_request=2))

    assert [request.images for request in requests] == [(0, 1), (2, 0), (3, 3)]


def test_headers_are_added_and_a_host_replaces_the_endpoints():
    """A gateway routes by it."""
    (plain,) = render(JPEGS[:1], Form("v2", "m", headers=(("Authorization", "Bearer x"),)))
    (routed,) = render(JPEGS[:1], Form("v2", "m", headers=(("Host", "model.example"),)))

    assert (header(plain, "Host"), header(plain, "Authorization")) == ("pod:80", "Bearer x")
    assert header(routed, "Host") == "model.example"
    assert routed.head("pod:80").lower().count(b"host:") == 1


def test_nothing_to_send_is_refused():
    """Before anything starts."""
    with pytest.raises(LoadError, match="no images"):
        render([], Form("v2", "m"))
