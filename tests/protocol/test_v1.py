"""The v1 parser and its answers: one entry for each instance, whatever became of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from predictor.errors import BadImageError, BadRequestError
from predictor.protocol import v1
from predictor.types import Answer, Reference

MAX = 8  # images per request


def parsed(*instances: object) -> tuple[object, ...]:
    """What becomes of these instances."""
    body = json.dumps({"instances": instances}).encode()
    return v1.parse("POST", {}, body, MAX).images


def test_an_image_comes_as_base64_in_either_of_two_places():
    """As KServe's clients send it, and as TensorFlow Serving's do."""
    images = parsed({"image_bytes": {"b64": "aW1hZ2U="}, "key": 1}, {"b64": "aW1hZ2U="})

    assert images == (b"image", b"image")


def test_an_instance_may_name_a_preloaded_image():
    """Beside instances that bring theirs; whether there is such an image is not asked here."""
    images = parsed({"ref": "sub/é.npy", "key": 1}, {"b64": "aW1hZ2U="}, {"ref": ""})

    assert images == (Reference("sub/é.npy"), b"image", Reference(""))


def test_nested_pixels_become_uint8():
    """Whole numbers, however JSON writes them."""
    (image,) = parsed([[[1, 2.0, 255]], [[0, 0, 0]]])

    assert np.array_equal(np.array([[[1, 2, 255]], [[0, 0, 0]]], np.uint8), image)
    assert np.uint8 == image.dtype


@pytest.mark.parametrize(
    ("method", "content_type"),
    [
        ("POST", b"image/jpeg"),
        ("POST", b"Application/Octet-Stream"),
        ("PUT", b"text/plain"),
        ("PUT", b""),
    ],
)
def test_a_raw_body_is_one_image(method, content_type):
    """Told by its Content-Type, or by PUT."""
    images = v1.parse(method, {b"content-type": content_type}, b"\xff\xd8", MAX).images

    assert images == (b"\xff\xd8",)


@pytest.mark.parametrize(
    ("method", "content_type"),
    [("POST", b"text/plain"), ("POST", b""), ("PUT", b"application/json; charset=utf-8")],
)
def test_a_body_that_is_no_image_is_json(method, content_type):
    """Whatever its Content-Type says."""
    body = b'{"instances": [{"b64": "aW1hZ2U="}]}'

    assert v1.parse(method, {b"content-type": content_type}, body, MAX).images == (b"image",)


REFUSED = {
    "no JSON": (b"{", {}, "a raw image needs Content-Type"),
    "no object": (b"[]", {}, "at least one"),
    "no instances": (b"{}", {}, "at least one"),
    "empty instances": (b'{"instances": []}', {}, "at least one"),
    "instances that are no list": (b'{"instances": {"b64": "aQ=="}}', {}, "at least one"),
    "too many": (json.dumps({"instances": [0] * 9}).encode(), {}, "9 images; the limit is 8"),
    "an empty raw body": (b"", {b"content-type": b"image/png"}, "the body is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_none_is_refused_whole(name):
    """One sentence that says what is wanted."""
    body, headers, words = REFUSED[name]

    with pytest.raises(BadRequestError) as caught:
        v1.parse("POST", headers, body, MAX)

    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


BAD_INSTANCES = {
    "a number": (7, "object with b64"),
    "a text": ("aW1hZ2U=", "object with b64"),
    "nothing": (None, "object with b64"),
    "an empty object": ({}, "an instance is"),
    "b64 that is a number": ({"b64": 7}, "an instance is"),
    "a name that is a number": ({"ref": 7}, "an instance is"),
    "a name within image_bytes": ({"image_bytes": {"ref": "cat.jpg"}}, "an instance is"),
    "image_bytes that is a text": ({"image_bytes": "aW1hZ2U="}, "an instance is"),
    "no base64": ({"b64": "?"}, "not base64"),
    "base64 beyond ASCII": ({"b64": "é==="}, "not base64"),
    "flat pixels": ([1, 2, 3], "must be [H][W][3], not [3]"),
    "no pixels": ([], "must be [H][W][3], not [0]"),
    "empty rows": ([[], []], "must be [H][W][3], not [2, 0]"),
    "four channels": ([[[1, 2, 3, 4]]], "must be [H][W][3], not [1, 1, 4]"),
    "uneven rows": ([[[1, 2, 3]], []], "evenly nested"),
    "deep nesting": ([[[[[1, 2, 3]]]]], "at most 4 deep"),
    "true": ([[[True, 2, 3]]], "must be numbers"),
    "numbers in words": ([[["1", "2", "3"]]], "must be numbers"),
    "null": ([[[None, 2, 3]]], "must be numbers"),
    "over 255": ([[[256, 2, 3]]], "from 0 to 255"),
    "half a pixel": ([[[0.5, 2, 3]]], "from 0 to 255"),
}


@pytest.mark.parametrize("name", BAD_INSTANCES)
def test_a_bad_instance_fails_alone(name):
    """Its error stands in its place; its neighbours are classified."""
    instance, words = BAD_INSTANCES[name]

    before, error, after = parsed({"b64": "aQ=="}, instance, {"b64": "aQ=="})

    assert (before, after) == (b"i", b"i")
    assert isinstance(error, BadRequestError)
    assert words in str(error)


def test_the_answer_has_an_entry_for_each_instance():
    """The best class at the top of each, and an error in the place of a bad image."""
    answer = Answer(np.array([1, 0]), np.array([0.75, 0.25], np.float32))

    response = v1.render((answer, BadImageError("no image")), [b"cat", b"dog"])

    best = {"label": "dog", "index": 1, "score": 0.75}
    second = {"label": "cat", "index": 0, "score": 0.25}
    assert {"predictions": [{**best, "top": [best, second]}, {"error": "no image"}]} == json.loads(
        response.body
    )
