"""The v2 REST parser: what it takes, and how it refuses what lies."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from predictor.errors import BadRequestError
from predictor.preloaded import Preloaded
from predictor.protocol import fields, oip, tensors
from predictor.settings import Settings
from predictor.types import Answer, Reference
from tests.protocol.wire import (
    binary,
    elements,
    one,
    one_tensor,
    plain,
    sized,
    tensor,
)

MAX = 8  # images per request


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
    assert [output.name for output in call.outputs] == ["indices", "scores", "labels"]
    assert all(output.binary for output in call.outputs)


def test_parameters_reach_the_request():
    """Timeout in microseconds, priority, top_k; others are ignored, whatever they hold."""
    parameters = {"timeout": 5000, "priority": 2, "top_k": 3, "colour": ["mauve"], "flag": None}

    call = oip.parse(*one(id="x", parameters=parameters), MAX)

    asked = call.request.options
    assert (asked.timeout_us, asked.priority, asked.top_k) == (5000, 2, 3)
    assert (call.id, call.request.images[0]) == ("x", b"image")


@pytest.mark.parametrize("parameters", [{}, {"priority": 0}, {"priority": None}])
def test_a_request_without_a_priority_stands_in_the_middle(parameters):
    """1 goes before it and 3 after it; 0 means the default, as Triton has it."""
    priority = oip.parse(*one(parameters=parameters), MAX).request.options.priority

    assert Settings(priority_levels=3).queueing.level(priority) == 2


@pytest.mark.parametrize(
    ("timeout_us", "expected"), [(0, None), (2**63 - 1, 3_600_000_000), (2**64 - 1, 3_600_000_000)]
)
def test_a_timeout_beyond_reason_is_an_hour(timeout_us, expected):
    """Deadlines stay within the 64 bits of a message; 0 means the server's own."""
    call = oip.parse(*one(parameters={"timeout": timeout_us}), MAX)

    assert expected == call.request.options.timeout_us


@pytest.mark.parametrize("given", [{}, {"id": None}, {"id": ""}])
def test_a_request_without_an_id_is_given_one(given):
    """Each its own."""
    first, second = (oip.parse(*one(**given), MAX).id for _ in range(2))

    assert len(first) == 16
    assert first != second


def test_an_id_of_any_text_is_echoed():
    """Line breaks and all, up to the limit."""
    given = 'ü\n"\\\x00' + "x" * (fields.LONGEST_ID - 5)
    call = oip.parse(*one(id=given), MAX)

    assert given == json.loads(oip.render(call, "m", "1", []).body)["id"]


def test_binary_data_of_an_output_overrides_the_default():
    """binary_data_output reaches named outputs too."""
    header = {
        "parameters": {"binary_data_output": True},
        "outputs": [
            {"name": "labels"},
            {"name": "scores", "parameters": {"binary_data": False, "binary_data_size": "odd"}},
            {"name": "indices", "parameters": {"binary_data": None}},
        ],
    }

    outputs = oip.parse(*one(**header), MAX).outputs

    assert [(output.name, output.binary) for output in outputs] == [
        ("labels", True),
        ("scores", False),
        ("indices", True),
    ]


@pytest.mark.parametrize("outputs", [None, []])
def test_who_names_no_outputs_gets_all(outputs):
    """JSON, unless binary_data_output says otherwise."""
    wanted = oip.parse(*one(outputs=outputs), MAX).outputs

    assert wanted == tuple(tensors.OutputWanted(n) for n in ("indices", "scores", "labels"))


@pytest.mark.parametrize("asked", [None, 0, 3, 2**64 - 1])
def test_classification_is_asked_for_per_output(asked):
    """0 means not asked; how many there are is known later."""
    outputs = [{"name": "scores", "parameters": {"classification": asked}}, {"name": "labels"}]

    wanted = oip.parse(*one(outputs=outputs), MAX).outputs

    assert [asked or 0, 0] == [output.classification for output in wanted]


BYTES_IN_JSON = {
    "flat": tensor(shape=[2], data=["Zmlyc3Q=", "c2Vjb25k"]),
    "flat, for [N,1]": tensor(shape=[2, 1], data=["Zmlyc3Q=", "c2Vjb25k"]),
    "nested, for [N,1]": tensor(shape=[2, 1], data=[["Zmlyc3Q="], ["c2Vjb25k"]]),
    "declared": tensor(
        shape=[2], data=["Zmlyc3Q=", "c2Vjb25k"], parameters={"content_type": "base64"}
    ),
}


@pytest.mark.parametrize("name", BYTES_IN_JSON)
def test_bytes_in_json_are_base64(name):
    """Declared or not: JSON can carry no image otherwise."""
    images = oip.parse(*plain({"inputs": [BYTES_IN_JSON[name]]}), MAX).request.images

    assert images == (b"first", b"second")


def test_binary_elements_that_are_unmistakably_base64_are_decoded():
    """No image file begins with these letters; where the rest is no base64, none of it is."""
    raw = elements(b"/9j/4AAQ", b"iVBORw0K", b"/9j/ \xff")
    body, headers = binary(sized(raw, shape=[3]), raw)

    first, second, third = map(bytes, oip.parse(body, headers, MAX).request.images)

    assert (first, second) == (b"\xff\xd8\xff\xe0\x00\x10", b"\x89PNG\r\n")
    assert third == b"/9j/ \xff"


def test_binary_elements_may_be_declared_base64():
    """Without the declaration they are the image files themselves."""
    raw = elements(b"aW1hZ2U=")
    size = {"binary_data_size": len(raw)}

    def parsed(**parameters: object) -> bytes:
        header = sized(raw, parameters={**size, **parameters})
        return bytes(oip.parse(*binary(header, raw), MAX).request.images[0])

    assert parsed(content_type="base64") == b"image"
    assert parsed(content_type="image/jpeg") == b"aW1hZ2U="
    assert parsed() == b"aW1hZ2U="


NAMED = {"content_type": "ref"}
NAMES_IN_JSON = {
    "flat": tensor(shape=[2], data=["a.jpg", "sub/é.npy"], parameters=NAMED),
    "flat, for [N,1]": tensor(shape=[2, 1], data=["a.jpg", "sub/é.npy"], parameters=NAMED),
    "nested, for [N,1]": tensor(shape=[2, 1], data=[["a.jpg"], ["sub/é.npy"]], parameters=NAMED),
}


@pytest.mark.parametrize("name", NAMES_IN_JSON)
def test_names_of_preloaded_images_in_json(name):
    """They are what they are; nobody looks here whether there is such an image."""
    images = oip.parse(*plain({"inputs": [NAMES_IN_JSON[name]]}), MAX).request.images

    assert images == (Reference("a.jpg"), Reference("sub/é.npy"))


def test_names_of_preloaded_images_in_binary_elements():
    """UTF-8; even what looks like an image in base64 is a name where that is declared."""
    raw = elements("sub/é.npy".encode(), b"/9j/4AAQ", b"")
    header = sized(raw, shape=[3], parameters={**NAMED, "binary_data_size": len(raw)})

    images = oip.parse(*binary(header, raw), MAX).request.images

    assert images == (Reference("sub/é.npy"), Reference("/9j/4AAQ"), Reference(""))


def test_a_name_that_is_not_utf8_is_one_that_no_image_has():
    """It costs that image alone, as any other wrong name does."""
    raw = elements(b"caf\xe9.jpg", b"a.jpg")
    header = sized(raw, shape=[2], parameters={**NAMED, "binary_data_size": len(raw)})

    odd, good = oip.parse(*binary(header, raw), MAX).request.images

    assert str(Preloaded().image(odd.name)).isprintable()
    with pytest.raises(UnicodeEncodeError):
        odd.name.encode()
    assert good == Reference("a.jpg")


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("form", ["binary", "nested", "flat"])
def test_pixels_come_as_uint8_or_as_whole_floats(datatype, form):
    """Binary, nested and flat, all give uint8 images."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    array = pixels if datatype == "UINT8" else pixels.astype("<f4")
    if form == "binary":
        raw = array.tobytes()
        body, headers = binary(sized(raw, datatype=datatype, shape=[2, 2, 2, 3]), raw)
    else:
        values = (array if form == "nested" else array.ravel()).tolist()
        body, headers = plain({"inputs": [tensor(datatype, [2, 2, 2, 3], data=values)]})

    images = oip.parse(body, headers, MAX).request.images

    assert np.array_equal(pixels, np.stack(images))
    assert np.uint8 == images[0].dtype


RAW = elements(b"image")
HUGE = 2**62
NESTED: list[object] = []
for _ in range(900):
    NESTED = [NESTED]


def pixels(*data: object, datatype: str = "UINT8", shape: object = (1, 1, 1, 3)) -> object:
    """A request of one pixel whose numbers are these."""
    return plain({"inputs": [tensor(datatype, shape, data=list(data))]})


def asked(**parameters: object) -> object:
    """A request with these parameters."""
    return one(parameters=parameters)


def output(**parameters: object) -> object:
    """A request of one output with these parameters."""
    return one(outputs=[{"name": "scores", "parameters": parameters}])


def floats(*values: float) -> object:
    """A request of one pixel in binary floats."""
    raw = struct.pack("<3f", *values)
    return binary(sized(raw, datatype="FP32", shape=[1, 1, 1, 3]), raw)


REFUSED = {
    # The whole request
    "an empty body": ((b"", {}), "not valid JSON"),
    "no object": (plain([]), "must be a JSON object"),
    "binary without a header length": ((b"{}\x05\0\0\0image", {}), "need Inference-Header"),
    "an empty raw body": ((b"", {oip.HEADER_LENGTH: b"0"}), "so is the body"),
    "header length of letters": ((b"{}", {oip.HEADER_LENGTH: b"2x"}), "plain decimal"),
    "header length of nothing": ((b"{}", {oip.HEADER_LENGTH: b""}), "plain decimal"),
    "negative header length": ((b"{}", {oip.HEADER_LENGTH: b"-1"}), "plain decimal"),
    "signed header length": ((b"{}", {oip.HEADER_LENGTH: b"+2"}), "plain decimal"),
    "endless header length": ((b"{}", {oip.HEADER_LENGTH: b"9" * 5000}), "plain decimal"),
    "header length over the body": ((b"{}", {oip.HEADER_LENGTH: b"3"}), "the body has 2 bytes"),
    "header cut short": ((b"{}", {oip.HEADER_LENGTH: b"1"}), "not valid JSON"),
    "id that is a number": (one(id=7), "id must be a string"),
    "endless id": (one(id="x" * 1025), "id has 1025 characters; the limit is 1024"),
    "parameters that are a list": (one(parameters=[]), "parameters must be an object"),
    # Inputs
    "no inputs": (plain({}), "list of one tensor"),
    "an empty list of inputs": (plain({"inputs": []}), "this one has 0"),
    "inputs that are no tensors": (plain({"inputs": ["image"]}), "list of one tensor"),
    "two inputs": (plain({"inputs": [tensor(), tensor()]}), "one input, 'image'; this one has 2"),
    "name": (one_tensor(name="x"), "no input 'x'; the input is called 'image'"),
    "no name": (one_tensor(name=None), "no input (none given); the input is called 'image'"),
    "endless name": (one_tensor(name="\n" * 10**6), "\\n…'; the input is called 'image'"),
    "nesting in a name": (one_tensor(name=NESTED), "called 'image'"),
    "datatype": (one_tensor(datatype="FP64"), "takes BYTES, UINT8, FP32, not 'FP64'"),
    "no datatype": (one_tensor(datatype=None), "takes BYTES, UINT8, FP32, not (none given)"),
    "input in shared memory": (
        one_tensor(data=None, parameters={"shared_memory_region": "r"}),
        "shared memory is not supported",
    ),
    # Shapes
    "no shape": (one_tensor(shape=None), "must be a list"),
    "shape that is no list": (one_tensor(shape=7), "must be a list"),
    "rank": (one_tensor(shape=[1, 1, 1]), "must be [N] or [N,1]"),
    "rank of nothing": (one_tensor(shape=[]), "must be [N] or [N,1]"),
    "endless rank": (one_tensor(shape=[1] * 100_000), "at most 4 numbers, not 100000"),
    "two columns": (one_tensor(shape=[1, 2]), "must be [N] or [N,1]"),
    "channels": (pixels(1, 2, 3, 4, shape=[1, 1, 1, 4]), "must be [N,H,W,3]"),
    "empty batch": (one_tensor(shape=[0], data=[]), "at least 1"),
    "empty image": (pixels(shape=[1, 0, 1, 3]), "at least 1"),
    "size that is not known": (one_tensor(shape=[-1]), "at least 1"),
    "bool in shape": (one_tensor(shape=[True]), "whole numbers"),
    "float in shape": (one_tensor(shape=[1.0]), "whole numbers"),
    "null in shape": (one_tensor(shape=[None]), "whole numbers"),
    "text in shape": (one_tensor(shape=["1"]), "whole numbers"),
    "nesting in a shape": (one_tensor(shape=[NESTED]), "whole numbers"),
    "too many images": (one_tensor(shape=[9]), "has 9 images; the limit is 8"),
    "huge shape": (pixels(shape=[HUGE, HUGE, HUGE, 3]), "limit is 8"),
    "huge image": (pixels(shape=[1, HUGE, HUGE, 3]), "takes 638"),
    "product of two to the 64": (pixels(shape=[1, 2**32, 2**32, 3]), "takes 5534"),
    # Data
    "neither data nor size": (one_tensor(data=None), "either data or"),
    "both data and size": (one_tensor(parameters={"binary_data_size": 1}), "either data or"),
    "data that is no list": (one_tensor(data="aW1hZ2U="), "data must be a list"),
    "bytes that no tensor takes": (binary({"inputs": [tensor(data=["aQ=="])]}, b"!"), "1 bytes"),
    "no base64": (one_tensor(data=["?"]), "element 0 is not base64"),
    "base64 for URLs": (one_tensor(data=["_-8="]), "element 0 is not base64"),
    "base64 without padding": (one_tensor(data=["aQ"]), "element 0 is not base64"),
    "base64 in lines": (one_tensor(data=["aW1h\nZ2U="]), "element 0 is not base64"),
    "base64 beyond ASCII": (one_tensor(data=["é==="]), "element 0 is not base64"),
    "numbers as BYTES": (one_tensor(data=[1]), "must be base64 strings"),
    "nesting for [N]": (one_tensor(data=[["aQ=="]]), "must be base64 strings"),
    "numbers as names": (one_tensor(data=[1], parameters=NAMED), "names of preloaded images"),
    "too many names": (one_tensor(data=["a", "b"], parameters=NAMED), "takes 1 values, got 2"),
    "uneven nesting for [N,1]": (
        one_tensor(shape=[2, 1], data=[["aQ=="], "aQ=="]),
        "must be base64 strings",
    ),
    "too many BYTES": (one_tensor(data=["aQ==", "aQ=="]), "takes 1 values, got 2"),
    "another content type in JSON": (
        one_tensor(parameters={"content_type": "str"}),
        "content_type of BYTES in JSON must be base64",
    ),
    "deep nesting": (pixels(*NESTED), "at most 4 deep"),
    "uneven nesting": (pixels([1, 2], [3]), "evenly nested"),
    "nesting beside a number": (pixels([1], 2, 3), "evenly nested"),
    "a number beside nesting": (pixels(1, [2], 3), "evenly nested"),
    "nesting unlike the shape": (pixels([1], [2], [3]), "nested like [3, 1]; it must be flat"),
    "too few pixels": (pixels(1, 2), "takes 3 values, got 2"),
    "pixels over 255": (pixels(1, 2, 256), "from 0 to 255"),
    "pixels below 0": (pixels(1, 2, -1), "from 0 to 255"),
    "pixels beyond 64 bits": (pixels(1, 2, 2**70), "from 0 to 255"),
    "pixels of 64 bits": (pixels(1, 2, 2**64 - 1), "from 0 to 255"),
    "pixels that are no whole numbers": (pixels(1, 2, 0.5, datatype="FP32"), "from 0 to 255"),
    "pixels that are words": (pixels("a", 2, 3), "must be numbers"),
    "pixels that are numbers in words": (pixels("1", "2", "3"), "must be numbers"),
    "pixels that are true": (pixels(True, 2, 3), "must be numbers"),
    "pixels that are null": (pixels(None, 2, 3), "must be numbers"),
    "pixels that are objects": (pixels({}, 2, 3), "must be numbers"),
    "NaN in JSON": (pixels(1, 2, float("nan")), "not valid JSON"),
    "NaN": (floats(1, 2, float("nan")), "from 0 to 255"),
    "infinity": (floats(1, 2, float("inf")), "from 0 to 255"),
    "half a pixel": (floats(1, 2, 0.5), "from 0 to 255"),
    # Binary data
    "prefix that lies": (
        binary(sized(b"\xff\xff\xff\xff1"), b"\xff\xff\xff\xff1"),
        "claims 4294967295 bytes, 1 are left",
    ),
    "bytes left over": (binary(sized(RAW + b"!"), RAW + b"!"), "1 bytes left over"),
    "too few elements": (binary(sized(RAW, shape=[2]), RAW), "ends before element 1 of 2"),
    "no elements": (binary(sized(b""), b""), "ends before element 0 of 1"),
    "size that lies": (binary(sized(RAW), RAW + b"more"), "binary_data_size is 9, but 13"),
    "size of 64 bits": (
        binary({"inputs": [tensor(parameters={"binary_data_size": 2**64 - 1})]}, RAW),
        "binary_data_size is 18446744073709551615",
    ),
    "size that is true": (one_tensor(parameters={"binary_data_size": True}), "whole number"),
    "raw pixels cut short": (
        binary(sized(b"12", datatype="UINT8", shape=[1, 1, 1, 3]), b"12"),
        "takes 3 bytes, got 2",
    ),
    "declared, but no base64": (
        binary(
            sized(RAW, parameters={"binary_data_size": 9, "content_type": "base64"}),
            elements(b"\xff\xd8\xff\xe0!"),
        ),
        "element 0 is not base64",
    ),
    # Outputs
    "outputs that are an object": (one(outputs={"name": "labels"}), "outputs must be a list"),
    "outputs that are names": (one(outputs=["labels"]), "outputs must be a list of objects"),
    "an unknown output": (one(outputs=[{"name": "nobody"}]), "unknown output 'nobody'; there are"),
    "an output without a name": (one(outputs=[{}]), "unknown output (none given)"),
    "an output twice": (one(outputs=[{"name": "labels"}] * 2), "asked for twice"),
    "nesting in an output": (one(outputs=[{"name": NESTED}]), "unknown output"),
    "output in shared memory": (output(shared_memory_region="r"), "shared memory is not supported"),
    "binary_data that is a number": (output(binary_data=1), "must be true or false"),
    "classification below zero": (output(classification=-1), "whole number of at least 0"),
    "classification of text": (output(classification="2"), "whole number of at least 0"),
    # Parameters
    "priority below zero": (asked(priority=-1), "priority must be a whole number"),
    "timeout below zero": (asked(timeout=-1), "timeout must be a whole number"),
    "timeout of a half": (asked(timeout=0.5), "timeout must be a whole number"),
    "top_k that is true": (asked(top_k=True), "top_k must be a whole number"),
    "binary_data_output of text": (asked(binary_data_output="yes"), "must be true or false"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_lies_is_refused_with_a_reason(name):
    """One sentence, before anything is allocated."""
    (body, headers), words = REFUSED[name]

    with pytest.raises(BadRequestError) as caught:
        oip.parse(body, headers, MAX)

    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


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
    wanted = [tensors.OutputWanted("scores", classification=2**64)]

    (output,) = tensors.outputs(answers, [b"cat", b"dog"], wanted)

    assert output.values == (b"0.750000:1:dog", b"0.250000:0:cat")
    assert (output.datatype, output.shape) == ("BYTES", (1, 2))
