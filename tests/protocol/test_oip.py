"""The v2 REST parser: what it takes, and how it refuses what lies."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.errors import BadRequestError
from predictor.protocol import oip, tensors
from predictor.types import Answer

MAX = 8  # images per request


def binary(header: dict[str, object], body: bytes = b"") -> tuple[bytes, dict[bytes, bytes]]:
    """A request in the binary extension."""
    text = json.dumps(header).encode()
    return text + body, {oip.HEADER_LENGTH: str(len(text)).encode()}


def elements(*images: bytes) -> bytes:
    """A raw BYTES tensor."""
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def tensor(datatype: str = "BYTES", shape: object = (1,), **more: object) -> dict[str, object]:
    """One input tensor's description."""
    return {"name": "image", "datatype": datatype, "shape": shape, **more}


def sized(raw: bytes, **more: object) -> dict[str, object]:
    """A request header whose only tensor is binary."""
    return {"inputs": [tensor(**more, parameters={"binary_data_size": len(raw)})]}


def test_raw_images_are_views_of_the_body():
    """No byte of an image is copied by the parser."""
    raw = elements(b"first", b"second")
    body, headers = binary(sized(raw, shape=[2, 1]), raw)

    images = oip.parse(body, headers, MAX).request.images

    assert [bytes(image) for image in images] == [b"first", b"second"]
    assert all(isinstance(image, memoryview) and image.obj is body for image in images)


def test_a_header_length_of_zero_means_the_body_is_the_image():
    """Triton's raw binary request; its outputs come back binary."""
    call = oip.parse(b"\xff\xd8 an image", {oip.HEADER_LENGTH: b"0"}, MAX)

    assert bytes(call.request.images[0]) == b"\xff\xd8 an image"
    assert all(output.binary for output in call.outputs)


def test_parameters_reach_the_request():
    """Timeout in microseconds, priority, top_k; others are ignored."""
    header = {
        "id": "x",
        "inputs": [tensor(data=[base64.b64encode(b"image").decode()])],
        "parameters": {"timeout": 5000, "priority": 2, "top_k": 3, "colour": "mauve"},
    }

    call = oip.parse(json.dumps(header).encode(), {}, MAX)

    assert (
        call.request.options.timeout_us,
        call.request.options.priority,
        call.request.options.top_k,
    ) == (5000, 2, 3)
    assert (call.id, call.request.images[0]) == ("x", b"image")


def test_a_timeout_beyond_reason_is_an_hour():
    """Deadlines stay within the 64 bits of a message."""
    header = {"inputs": [tensor(data=["aQ=="])], "parameters": {"timeout": 2**63 - 1}}

    call = oip.parse(json.dumps(header).encode(), {}, MAX)

    assert call.request.options.timeout_us == 3_600_000_000


def test_binary_data_of_an_output_overrides_the_default():
    """binary_data_output reaches named outputs too."""
    header = {
        "inputs": [tensor(data=["aW1hZ2U="])],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "labels"}, {"name": "scores", "parameters": {"binary_data": False}}],
    }

    outputs = oip.parse(json.dumps(header).encode(), {}, MAX).outputs

    assert [(o.name, o.binary) for o in outputs] == [("labels", True), ("scores", False)]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("as_binary", [True, False])
def test_pixels_come_as_uint8_or_as_whole_floats(datatype, as_binary):
    """Binary and JSON, all give uint8 images."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    array = pixels if datatype == "UINT8" else pixels.astype("<f4")
    if as_binary:
        raw = array.tobytes()
        body, headers = binary(sized(raw, datatype=datatype, shape=[2, 2, 2, 3]), raw)
    else:
        described = tensor(datatype, [2, 2, 2, 3], data=array.tolist())
        body, headers = json.dumps({"inputs": [described]}).encode(), {}

    images = oip.parse(body, headers, MAX).request.images

    assert np.array_equal(pixels, np.stack(images))
    assert np.uint8 == images[0].dtype


RAW = elements(b"image")
HUGE = 2**62
NESTED: list[object] = []
for _ in range(900):
    NESTED = [NESTED]
REFUSED = {
    "prefix that lies": (
        *binary(sized(b"\xff\xff\xff\xff1"), b"\xff\xff\xff\xff1"),
        "claims 4294967295",
    ),
    "bytes left over": (*binary(sized(RAW + b"!"), RAW + b"!"), "1 bytes left over"),
    "too few elements": (*binary(sized(RAW, shape=[2]), RAW), "ends before element 1"),
    "size that lies": (*binary(sized(RAW), RAW + b"more"), "binary_data_size is 9"),
    "neither data nor size": (json.dumps({"inputs": [tensor()]}).encode(), {}, "either data or"),
    "both data and size": (
        json.dumps(
            {"inputs": [tensor(data=["aQ=="], parameters={"binary_data_size": 1})]}
        ).encode(),
        {},
        "either data or",
    ),
    "huge shape": (
        *binary(sized(RAW, datatype="UINT8", shape=[HUGE, HUGE, HUGE, 3]), RAW),
        "limit is 8",
    ),
    "huge image": (
        *binary(sized(RAW, datatype="UINT8", shape=[1, HUGE, HUGE, 3]), RAW),
        "takes 638",
    ),
    "too many images": (*binary(sized(RAW, shape=[9]), RAW), "has 9 images; the limit is 8"),
    "endless rank": (*binary(sized(RAW, shape=[1] * 100_000), RAW), "at most 4 numbers"),
    "nesting in a name": (*binary({"inputs": [{**tensor(), "name": NESTED}]}), "called 'image'"),
    "nesting in a shape": (*binary(sized(RAW, shape=[NESTED]), RAW), "whole numbers"),
    "an output twice": (
        json.dumps(
            {"inputs": [tensor(data=["aQ=="])], "outputs": [{"name": "labels"}] * 2}
        ).encode(),
        {},
        "asked for twice",
    ),
    "nesting in an output": (
        json.dumps({"inputs": [tensor(data=["aQ=="])], "outputs": [{"name": NESTED}]}).encode(),
        {},
        "unknown output",
    ),
    "priority that fits no message": (
        json.dumps({"inputs": [tensor(data=["aQ=="])], "parameters": {"priority": 256}}).encode(),
        {},
        "the lowest is 255",
    ),
    "rank": (*binary(sized(RAW, shape=[1, 1, 1]), RAW), "must be [N] or [N,1]"),
    "bool in shape": (*binary(sized(RAW, shape=[True]), RAW), "whole numbers"),
    "float in shape": (*binary(sized(RAW, shape=[1.0]), RAW), "whole numbers"),
    "null in shape": (*binary(sized(RAW, shape=[None]), RAW), "whole numbers"),
    "empty batch": (*binary(sized(b"", shape=[0])), "at least 1"),
    "shape that is no list": (*binary(sized(RAW, shape=7), RAW), "must be a list"),
    "datatype": (*binary(sized(RAW, datatype="FP64"), RAW), "takes BYTES, UINT8, FP32"),
    "channels": (
        *binary(sized(b"1234", datatype="UINT8", shape=[1, 1, 1, 4]), b"1234"),
        "[N,H,W,3]",
    ),
    "name": (*binary({"inputs": [{**tensor(), "name": "x"}]}), "called 'image'"),
    "two inputs": (*binary({"inputs": [tensor(), tensor()]}), "list of one tensor"),
    "header length of letters": (b"{}", {oip.HEADER_LENGTH: b"2x"}, "plain decimal"),
    "negative header length": (b"{}", {oip.HEADER_LENGTH: b"-1"}, "plain decimal"),
    "pixels over 255": (
        json.dumps({"inputs": [tensor("UINT8", [1, 1, 1, 3], data=[1, 2, 256])]}).encode(),
        {},
        "from 0 to 255",
    ),
    "pixels that are no whole numbers": (
        json.dumps({"inputs": [tensor("FP32", [1, 1, 1, 3], data=[1, 2, 0.5])]}).encode(),
        {},
        "from 0 to 255",
    ),
    "pixels that are words": (
        json.dumps({"inputs": [tensor("UINT8", [1, 1, 1, 3], data=["a", 2, 3])]}).encode(),
        {},
        "must be numbers",
    ),
    "no base64": (json.dumps({"inputs": [tensor(data=["?"])]}).encode(), {}, "not base64"),
    "id that is a number": (
        json.dumps({"id": 7, "inputs": [tensor(data=["aQ=="])]}).encode(),
        {},
        "id must be",
    ),
    "timeout below zero": (
        json.dumps({"inputs": [tensor(data=["aQ=="])], "parameters": {"timeout": -1}}).encode(),
        {},
        "timeout must be",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_lies_is_refused_with_a_reason(name):
    """One sentence, before anything is allocated."""
    body, headers, words = REFUSED[name]

    with pytest.raises(BadRequestError) as caught:
        oip.parse(body, headers, MAX)

    assert words in str(caught.value)


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_framing_round_trips(images):
    """Any elements, empty ones too."""
    raw = elements(*images)

    assert images == [bytes(e) for e in tensors.split_elements(memoryview(raw), len(images))]


@given(st.binary(max_size=200), st.integers(1, 5))
def test_any_bytes_are_split_or_refused(raw, count):
    """Nothing else is ever raised."""
    try:
        parts = tensors.split_elements(memoryview(raw), count)
    except BadRequestError:
        return
    assert elements(*map(bytes, parts)) == raw


@given(st.binary(max_size=300), st.integers(0, 300) | st.none())
def test_any_body_is_parsed_or_refused(body, length):
    """Nothing but a BadRequestError leaves the parser."""
    headers = {} if length is None else {oip.HEADER_LENGTH: str(length).encode()}
    try:
        oip.parse(body, headers, MAX)
    except BadRequestError:
        return
    assert length == 0  # random bytes are nothing else


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "id": JSON_VALUES,
            "parameters": JSON_VALUES,
            "outputs": JSON_VALUES,
            "inputs": JSON_VALUES
            | st.lists(
                st.fixed_dictionaries(
                    {"name": st.just("image")},
                    optional={
                        "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]) | JSON_VALUES,
                        "shape": st.lists(st.integers(-1, 4), max_size=5) | JSON_VALUES,
                        "data": JSON_VALUES,
                        "parameters": JSON_VALUES,
                    },
                ),
                max_size=2,
            ),
        },
    )
)
def test_any_json_is_parsed_or_refused(header):
    """Wrong types in every place."""
    try:
        call = oip.parse(json.dumps(header).encode(), {}, MAX)
    except BadRequestError:
        return
    assert call.request.images


def test_binary_outputs_lie_behind_the_header_in_order():
    """As the header's sizes say; BYTES behind their lengths."""
    answers = [Answer(np.array([1, 0]), np.array([0.75, 0.25], np.float32))]
    wanted = [
        tensors.OutputWanted("labels", binary=True),
        tensors.OutputWanted("scores"),
        tensors.OutputWanted("indices", binary=True),
    ]
    call = oip.parse(b"x", {oip.HEADER_LENGTH: b"0"}, MAX)

    response = oip.render(call, "m", "1", tensors.outputs(answers, [b"cat", b"dog"], wanted))

    length = int(dict(response.headers)[b"inference-header-content-length"])
    header = json.loads(response.body[:length])
    assert [output["name"] for output in header["outputs"]] == ["labels", "scores", "indices"]
    assert header["outputs"][1]["data"] == [0.75, 0.25]
    assert elements(b"dog", b"cat") + struct.pack("<qq", 1, 0) == response.body[length:]


def test_classification_names_score_index_and_label():
    """The class index, not the place in the top-k; never more than there are."""
    answers = [Answer(np.array([1, 0]), np.array([0.75, 0.25], np.float32))]
    wanted = [tensors.OutputWanted("scores", classification=9)]

    (output,) = tensors.outputs(answers, [b"cat", b"dog"], wanted)

    assert output.values == (b"0.750000:1:dog", b"0.250000:0:cat")
    assert (output.datatype, output.shape) == ("BYTES", (1, 2))
