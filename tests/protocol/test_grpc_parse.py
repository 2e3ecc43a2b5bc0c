"""The gRPC parser, where it differs from REST's: typed contents, raw ones, parameters' kinds."""

from __future__ import annotations

from typing import Any

import pytest

from predictor.protocol import grpc_parse
from predictor.protocol.messages import message
from predictor.types import Reference
from tests.protocol.wire import elements

MAX = 8  # images per request
NAMES = (b"a.jpg", "sub/é.npy".encode(), b"/9j/4AAQ")


def named(shape: list[int], *, raw: bool) -> Any:
    """A request for preloaded images."""
    request = message("ModelInferRequest")(model_name="m")
    tensor = request.inputs.add(name="image", datatype="BYTES", shape=shape)
    tensor.parameters["content_type"].string_param = "ref"
    if raw:
        request.raw_input_contents.append(elements(*NAMES))
    else:
        tensor.contents.bytes_contents.extend(NAMES)
    return request


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("shape", [[3], [3, 1]])
def test_names_of_preloaded_images(shape, raw):
    """In typed and in raw contents, as in REST."""
    images = grpc_parse.parse(named(shape, raw=raw), None, MAX).request.images

    assert images == (Reference("a.jpg"), Reference("sub/é.npy"), Reference("/9j/4AAQ"))


def test_a_parameter_of_another_kind_declares_nothing():
    """What is no text is no content type: the elements are images, and here one is in base64."""
    request = named([3], raw=False)
    request.inputs[0].parameters["content_type"].bool_param = True

    images = grpc_parse.parse(request, None, MAX).request.images

    assert images == (NAMES[0], NAMES[1], b"\xff\xd8\xff\xe0\x00\x10")
