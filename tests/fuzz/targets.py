"""What is fuzzed: one function of bytes for each parser, and well-formed requests to start from.

A target returns when its parser took or refused the bytes as it should; whatever else it raises is
a finding. It needs no fuzzer: tests run every seed and every former finding through it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError

from predictor.errors import BadImageError, PredictorError
from predictor.preloaded import Preloaded
from predictor.protocol import fields, grpc_parse, oip, tensors, v1
from predictor.protocol.messages import message
from predictor.protocol.status import client_text
from predictor.types import Answer, ClassifyRequest, Reference
from tests.protocol.wire import binary, elements, one, plain, sized, tensor

MAX = 8  # images per request
LARGEST_IMAGE = 1 << 20  # bytes; inputs are far shorter, so no image can be longer
HEADER_END = b"\0"  # in an input for v2: where the JSON ends; JSON cannot hold this byte
SIZE_HERE = b"777777"  # in the JSON of an input for v2: the number of bytes behind the JSON
LABELS = (b"cat", b"dog")
NOTHING_PRELOADED = Preloaded()
ANSWER = Answer(np.array([1, 0]), np.array([0.75, 0.25], np.float32))
ModelInferRequest = message("ModelInferRequest")


@dataclass(frozen=True, slots=True)
class Target:
    """One parser under attack."""

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...]  # the fuzzer puts these in whole: it would take ages to find them
    json: bool = False  # inputs hold a JSON object, which can be changed as such


def v2(data: bytes) -> None:
    """A v2 request: the header's value, a line break, the body.

    Without a value the body has no header length. Where the body has ``HEADER_END``, the JSON ends
    there, whatever the value says, and ``SIZE_HERE`` stands for the number of bytes behind it:
    otherwise hardly any change would leave a request whose lengths fit.
    """
    value, _, body = data.partition(b"\n")
    headers = {oip.HEADER_LENGTH: value} if value else {}
    if HEADER_END in body:
        text, _, raw = body.partition(HEADER_END)
        text = text.replace(SIZE_HERE, str(len(raw)).encode())
        body, headers = text + raw, {oip.HEADER_LENGTH: str(len(text)).encode()}
    try:
        call = oip.parse(body, headers, MAX)
    except PredictorError as error:
        _check_error(error)
        return
    _check_call(call)
    response = oip.render(call, "m", "1", _outputs(call))
    length = dict(response.headers).get(oip.HEADER_LENGTH, b"%d" % len(response.body))
    assert orjson.loads(response.body[: int(length)])["id"] == call.id


def framing(data: bytes) -> None:
    """A raw BYTES tensor behind a byte that says how many elements it has."""
    count, raw = data[:1], memoryview(data)[1:]
    try:
        parts = tensors.split_elements(raw, 1 + sum(count) % MAX)
    except PredictorError as error:
        _check_error(error)
        return
    assert elements(*map(bytes, parts)) == raw, "what was split does not join to what it was"


def v1_json(data: bytes) -> None:
    """A v1 predict body."""
    try:
        request = v1.parse("POST", {}, data, MAX)
    except PredictorError as error:
        _check_error(error)
        return
    _check_images(request)
    result = tuple(
        image if isinstance(image, PredictorError) else ANSWER for image in request.images
    )
    predictions = orjson.loads(v1.render(result, LABELS).body)["predictions"]
    assert len(predictions) == len(request.images)


def grpc(data: bytes) -> None:
    """A ``ModelInferRequest``; bytes that are none never reach the parser."""
    request = ModelInferRequest()
    try:
        request.ParseFromString(data)
    except DecodeError:
        return
    try:
        call = grpc_parse.parse(request, remaining_s=len(data) % 7 or None, max_images=MAX)
    except PredictorError as error:
        _check_error(error)
        return
    _check_call(call)
    raw = bool(request.raw_input_contents)
    response = grpc_parse.render(call, "m", "1", _outputs(call), raw=raw)
    assert response.id == call.id
    assert len(response.outputs) == len(call.outputs)


def _outputs(call: oip.InferCall) -> tuple[tensors.OutputTensor, ...]:
    return tensors.outputs([ANSWER] * len(call.request.images), LABELS, call.outputs)


def _check_error(error: PredictorError) -> None:
    text = client_text(error)
    assert text, "an error without a text"
    assert len(text.splitlines()) == 1, "an error of several lines"


def _check_call(call: oip.InferCall) -> None:
    assert 0 < len(call.id) <= fields.LONGEST_ID
    names = [output.name for output in call.outputs]
    assert names, "no outputs"
    assert len(names) == len(set(names)), "an output twice"
    assert call.request.options.priority >= 0
    assert (call.request.options.timeout_us or 1) <= fields.LONGEST_TIMEOUT_US
    _check_images(call.request)


def _check_images(request: ClassifyRequest) -> None:
    assert 1 <= len(request.images) <= MAX
    for image in request.images:
        if isinstance(image, PredictorError):
            _check_error(image)
        elif isinstance(image, Reference):
            missing = NOTHING_PRELOADED.image(image.name)
            assert isinstance(missing, BadImageError)
            _check_error(missing)
        elif isinstance(image, np.ndarray):
            assert image.dtype == np.uint8
            assert image.ndim == 3
            assert image.shape[2] == 3
            assert 0 < image.nbytes < LARGEST_IMAGE
        else:
            assert len(image) < LARGEST_IMAGE


def _v2_seeds() -> list[bytes]:
    raw, encoded = elements(b"first", b"second"), elements(b"/9j/4AAQ", b"iVBO!")
    pixels = bytes(range(12))
    floats = np.arange(12, dtype="<f4").tobytes()
    every = [
        {"name": "labels", "parameters": {"binary_data": True, "classification": 2}},
        {"name": "scores", "parameters": {"binary_data": False, "binary_data_size": 1}},
        {"name": "indices"},
    ]
    asked = {"timeout": 5000, "priority": 7, "top_k": 1, "binary_data_output": True}
    declared, named = {"content_type": "base64"}, {"content_type": "ref"}
    image = [1, 2, 2, 3]
    return [
        b"0\n\xff\xd8\xff\xe0",
        _joined(sized(raw, shape=[2, 1]) | {"id": "7", "parameters": asked}, raw),
        _joined(sized(raw, shape=[2]) | {"outputs": every}, raw),
        _joined(sized(encoded, shape=[2]), encoded),
        _joined(
            sized(encoded, shape=[2], parameters={**named, "binary_data_size": len(encoded)}),
            encoded,
        ),
        _joined(sized(pixels, datatype="UINT8", shape=image), pixels),
        _joined(sized(floats, datatype="FP32", shape=image), floats),
        *(
            b"\n" + plain({"inputs": [described]})[0]
            for described in (
                tensor(shape=[2, 1], data=[["aQ=="], ["aQ=="]], parameters=declared),
                tensor(shape=[2], data=["cat.jpg", "../dog.npy"], parameters=named),
                tensor("UINT8", image, data=list(range(12))),
                tensor("FP32", image, data=[[[[0.0, 1, 2]] * 2] * 2]),
                tensor(parameters={"shared_memory_region": "r", "shared_memory_byte_size": 1}),
            )
        ),
        b"\n" + one(outputs=every, parameters=asked)[0],
        b"2\n" + binary({}, b"{}")[0],
    ]


def _joined(header: object, raw: bytes) -> bytes:
    """A request whose sizes follow what the fuzzer makes of it."""
    (text, _), size = plain(header), b'"binary_data_size": '
    return b"\n" + text.replace(size + b"%d" % len(raw), size + SIZE_HERE) + HEADER_END + raw


def _framing_seeds() -> list[bytes]:
    counts = ([b"first"], [b"", b""], [b"\xff\xd8", b"\x89PNG", b"GIF8"])
    return [bytes([len(images) - 1]) + elements(*images) for images in counts]


def _v1_seeds() -> list[bytes]:
    instances: tuple[object, ...] = (
        {"b64": "aW1hZ2U="},
        {"image_bytes": {"b64": "aW1hZ2U="}, "key": 1},
        {"ref": "cat.jpg"},
        [[[1, 2, 3], [4, 5, 6]], [[7.0, 8, 9], [255, 0, 0]]],
    )
    one_each = [plain({"instances": [instance]})[0] for instance in instances]
    return [*one_each, plain({"instances": instances})[0], b'{"instances": []}']


def _grpc_seeds() -> list[bytes]:
    def request(datatype: str, shape: list[int]) -> Any:
        made = ModelInferRequest(model_name="m", model_version="1", id="7")
        made.inputs.add(name="image", datatype=datatype, shape=shape)
        return made

    raw, typed = request("BYTES", [2, 1]), request("BYTES", [2])
    raw.raw_input_contents.append(elements(b"first", b"second"))
    raw.parameters["priority"].int64_param = 7
    raw.parameters["timeout"].int64_param = 5000
    raw.parameters["binary_data_output"].bool_param = True
    typed.inputs[0].contents.bytes_contents.extend([b"Zmlyc3Q=", b"/9j/4AAQ"])
    typed.inputs[0].parameters["content_type"].string_param = "base64"
    typed.outputs.add(name="labels").parameters["classification"].int64_param = 2
    typed.outputs.add(name="scores").parameters["shared_memory_region"].string_param = "r"
    named = request("BYTES", [2, 1])
    named.inputs[0].contents.bytes_contents.extend([b"cat.jpg", b"caf\xe9.npy"])
    named.inputs[0].parameters["content_type"].string_param = "ref"
    pixels, floats = request("UINT8", [1, 2, 2, 3]), request("FP32", [1, 2, 2, 3])
    pixels.inputs[0].contents.uint_contents.extend(range(12))
    floats.inputs[0].contents.fp32_contents.extend(range(12))
    return [made.SerializeToString() for made in (raw, typed, named, pixels, floats)]


V2_WORDS = (
    *("inputs", "outputs", "parameters", "name", "datatype", "shape", "data", "id"),
    *("image", "indices", "scores", "labels", "BYTES", "UINT8", "FP32", "base64", "ref"),
    *("binary_data", "binary_data_size", "binary_data_output", "classification", "content_type"),
    *("timeout", "priority", "top_k", "shared_memory_region"),
)
TARGETS = {
    "v2": Target(v2, _v2_seeds, V2_WORDS, json=True),
    "framing": Target(framing, _framing_seeds, ()),
    "v1": Target(v1_json, _v1_seeds, ("instances", "image_bytes", "b64", "ref"), json=True),
    "grpc": Target(grpc, _grpc_seeds, V2_WORDS),
}
