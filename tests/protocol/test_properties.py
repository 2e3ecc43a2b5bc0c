"""What holds for every request: good ones come through unchanged, and anything else is refused.

The parsers meet bytes from strangers. Whatever these are, a parser returns a call or raises a
``PredictorError``; it never raises anything else, and never needs much more memory than the JSON in
the request takes by itself.
"""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
import tritonclient.http as triton
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from predictor.errors import PredictorError
from predictor.protocol import fields, oip, tensors, v1
from predictor.protocol.status import client_text
from predictor.types import Answer, Options, Reference
from tests.protocol.wire import Parts, base64_text, binary, elements, plain, sized, tensor

MAX = 8  # images per request
OUTPUTS = ("indices", "scores", "labels")

slow_machine = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(slow_machine, max_examples=400)
usual = settings(slow_machine, max_examples=150)


def refused(parse: Any, *arguments: Any) -> Any:
    """What comes of parsing: the result, or the error that a client may be told in one line."""
    try:
        return parse(*arguments)
    except PredictorError as error:
        text = client_text(error)
        assert text
        assert len(text.splitlines()) == 1
        return error


# Good requests

# What begins as an image in base64 does is taken for one; tests/protocol/test_oip.py has these.
IMAGES = st.lists(
    st.binary(max_size=60).filter(lambda image: image[:4] not in fields.BASE64_IMAGES),
    min_size=1,
    max_size=MAX,
)


@dataclass(frozen=True)
class Sent:
    """A well-formed request, and what is to come of it."""

    parts: Parts
    images: list[bytes]
    options: Options
    outputs: list[tensors.OutputWanted]
    id: str | None


def options(draw: st.DrawFn) -> tuple[dict[str, int], Options]:
    """Request parameters and what they mean."""
    given = {
        name: draw(st.integers(1, largest))
        for name, largest in (("timeout", 10**9), ("priority", 255), ("top_k", 10))
        if draw(st.booleans())
    }
    meant = Options(given.get("timeout"), given.get("priority", 0), given.get("top_k"))
    return given, meant


def outputs(draw: st.DrawFn, default: bool) -> tuple[list[object], list[tensors.OutputWanted]]:
    """Requested outputs and what they mean."""
    described: list[object] = []
    wanted = []
    for name in draw(st.lists(st.sampled_from(OUTPUTS), unique=True)):
        flag = draw(st.none() | st.booleans())
        classes = draw(st.integers(0, 2**64 - 1))
        parameters = {"classification": classes} | ({} if flag is None else {"binary_data": flag})
        described.append({"name": name, "parameters": parameters})
        wanted.append(tensors.OutputWanted(name, default if flag is None else flag, classes))
    return described, wanted or [tensors.OutputWanted(name, default) for name in OUTPUTS]


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Images in one of the forms that v2 has for them, with whatever else may be asked."""
    images = draw(IMAGES)
    shape = draw(st.sampled_from([[len(images)], [len(images), 1]]))
    form = draw(st.sampled_from(["binary", "flat", "nested"]))
    declared = {"content_type": "base64"} if draw(st.booleans()) else {}
    texts = [base64_text(image) for image in images]
    raw = b""
    if form == "binary":
        raw = elements(*([text.encode() for text in texts] if declared else images))
        header = sized(raw, shape=shape, parameters={**declared, "binary_data_size": len(raw)})
    else:
        data = texts if form == "flat" or len(shape) == 1 else [[text] for text in texts]
        header = {"inputs": [tensor(shape=shape, data=data, parameters=declared)]}
    default = draw(st.booleans())
    given, meant = options(draw)
    header["parameters"] = {**given, "binary_data_output": default}
    header["outputs"], wanted = outputs(draw, default)
    identifier = draw(st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    header["id"] = identifier
    parts = binary(header, raw) if raw or draw(st.booleans()) else plain(header)
    return Sent(parts, images, meant, wanted, identifier)


@thorough
@given(requests())
def test_whatever_a_request_holds_comes_back(sent):
    """Images, parameters, outputs and id, in every form."""
    call = oip.parse(*sent.parts, MAX)

    assert sent.images == [bytes(image) for image in call.request.images]
    assert sent.options == call.request.options
    assert sent.outputs == list(call.outputs)
    assert sent.id is None or sent.id == call.id


NAMES = st.lists(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=MAX
)


@usual
@given(NAMES, st.sampled_from(["binary", "flat", "nested", "v1"]))
def test_names_come_back_as_they_were(names, form):
    """Whatever they are made of, in every form."""
    named = {"parameters": {"content_type": "ref"}, "shape": [len(names), 1]}
    if form == "v1":
        body = json.dumps({"instances": [{"ref": name} for name in names]}).encode()
        images = v1.parse("POST", {}, body, MAX).images
    elif form == "binary":
        raw = elements(*map(str.encode, names))
        named["parameters"]["binary_data_size"] = len(raw)
        images = oip.parse(*binary(sized(raw, **named), raw), MAX).request.images
    else:
        data = names if form == "flat" else [[name] for name in names]
        images = oip.parse(*plain({"inputs": [tensor(**named, data=data)]}), MAX).request.images

    assert images == tuple(map(Reference, names))


PIXELS = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, MAX), st.integers(1, 4), st.integers(1, 4), st.just(3)),
)


@usual
@given(
    PIXELS, st.sampled_from(["UINT8", "FP32"]), st.sampled_from(["binary", "flat", "nested", "v1"])
)
def test_pixels_come_back_as_they_were(pixels, datatype, form):
    """Both datatypes, binary, flat and nested; and v1's rows."""
    array = pixels if datatype == "UINT8" else pixels.astype("<f4")
    if form == "v1":
        body = json.dumps({"instances": array.tolist()}).encode()
        images = v1.parse("POST", {}, body, MAX).images
    else:
        raw = array.tobytes() if form == "binary" else b""
        more = {"datatype": datatype, "shape": list(array.shape)}
        data = (array if form == "nested" else array.ravel()).tolist()
        header = sized(raw, **more) if raw else {"inputs": [tensor(**more, data=data)]}
        images = oip.parse(*binary(header, raw), MAX).request.images

    assert all(image.dtype == np.uint8 for image in images)
    assert np.array_equal(pixels, np.stack(images))


@usual
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=MAX))
def test_framing_round_trips(images):
    """Any elements, empty ones too."""
    raw = elements(*images)

    assert images == [bytes(e) for e in tensors.split_elements(memoryview(raw), len(images))]


@usual
@given(IMAGES, st.booleans())
def test_what_triton_s_client_writes_is_read(images, two_dimensions):
    """Its binary form, as its own code makes it."""
    array = np.array([*images, None], object)[:-1].reshape((-1, 1) if two_dimensions else -1)
    asked = triton.InferInput("image", list(array.shape), "BYTES").set_data_from_numpy(array)
    body, length = triton.InferenceServerClient.generate_request_body([asked], priority=7)

    call = oip.parse(body, {oip.HEADER_LENGTH: str(length).encode()}, MAX)

    assert images == [bytes(image) for image in call.request.images]
    assert call.request.options.priority == 7
    assert all(output.binary for output in call.outputs)


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[Answer], list[bytes]]:
    """The top k of some images, and the labels of all classes."""
    count, k = draw(st.integers(1, MAX)), draw(st.integers(1, 5))
    labels = draw(st.lists(st.text(max_size=9), min_size=k, max_size=9))
    order = st.permutations(range(len(labels)))
    scores = arrays.arrays(np.float32, k, elements=st.floats(0, 1, width=32))
    found = [Answer(np.array(draw(order)[:k], np.int64), draw(scores)) for _ in range(count)]
    return found, [label.encode("utf-8", "replace") for label in labels]


@usual
@given(answers(), st.data())
def test_triton_s_client_reads_what_is_written(answered, data):
    """Any outputs, each in JSON or in binary, mixed."""
    found, labels = answered
    _, wanted = outputs(data.draw, data.draw(st.booleans()))
    call = oip.parse(b"x", {oip.HEADER_LENGTH: b"0"}, MAX)
    response = oip.render(call, "m", "1", tensors.outputs(found, labels, wanted))

    length = dict(response.headers).get(b"inference-header-content-length")
    read = triton.InferResult.from_response_body(response.body, header_length=length)

    assert call.id == read.get_response()["id"]
    assert [want.name for want in wanted] == [o["name"] for o in read.get_response()["outputs"]]
    for want in wanted:
        assert expected_output(found, labels, want) == as_bytes(read.as_numpy(want.name))


def expected_output(found: list[Answer], labels: list[bytes], want: Any) -> list[list[object]]:
    """The rows of one output."""
    if want.classification:
        return [
            [
                b"%.6f:%d:%s" % (score, index, labels[index])
                for index, score in zip(answer.indices.tolist(), answer.scores, strict=True)
            ][: want.classification]
            for answer in found
        ]
    if want.name == "labels":
        return [[labels[index] for index in answer.indices] for answer in found]
    return [getattr(answer, want.name).tolist() for answer in found]


def as_bytes(array: Any) -> list[list[object]]:
    """Rows as lists; texts of the JSON form as the bytes of the binary one."""
    rows = array.astype(np.float32 if array.dtype.kind == "f" else array.dtype).tolist()
    return [[item.encode() if isinstance(item, str) else item for item in row] for row in rows]


# Hostile ones

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=10,
)
SIZES = st.integers(-1, 4) | st.sampled_from([2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1])
PARAMETERS = JSON_VALUES | st.dictionaries(
    st.sampled_from(
        [
            "binary_data",
            "binary_data_output",
            "binary_data_size",
            "classification",
            "content_type",
            "priority",
            "shared_memory_region",
            "timeout",
            "top_k",
        ]
    ),
    SIZES | st.booleans() | st.sampled_from(["base64", "ref"]) | JSON_VALUES,
    max_size=3,
)
TENSORS = st.fixed_dictionaries(
    {"name": st.just("image")},
    optional={
        "datatype": st.sampled_from(["BYTES", "UINT8", "FP32"]) | JSON_VALUES,
        "shape": st.lists(SIZES, max_size=5) | JSON_VALUES,
        "data": st.lists(st.just("aQ==") | st.just(1), max_size=12) | JSON_VALUES,
        "parameters": PARAMETERS,
    },
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON_VALUES,
        "parameters": PARAMETERS,
        "inputs": st.lists(TENSORS, max_size=2) | JSON_VALUES,
        "outputs": JSON_VALUES
        | st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(OUTPUTS)}, optional={"parameters": PARAMETERS}
            ),
            max_size=4,
        ),
    },
)


@thorough
@given(HEADERS, st.binary(max_size=20), st.booleans())
def test_any_json_is_parsed_or_refused(header, raw, as_binary):
    """Wrong types, and right types with wild values, in every place."""
    call = refused(oip.parse, *(binary(header, raw) if as_binary else plain(header)), MAX)

    assert isinstance(call, PredictorError) or 1 <= len(call.request.images) <= MAX


@usual
@given(st.binary(max_size=300), st.none() | st.integers(-1, 400) | st.binary(max_size=20))
def test_any_body_and_any_header_length_is_parsed_or_refused(body, length):
    """Random bytes are nothing but a raw image."""
    given_length = str(length).encode() if isinstance(length, int) else length
    headers = {} if given_length is None else {oip.HEADER_LENGTH: given_length}

    call = refused(oip.parse, body, headers, MAX)

    if not isinstance(call, PredictorError):
        assert given_length.strip(b"0") == b""
        assert body == bytes(call.request.images[0])


@thorough
@given(requests(), st.integers(0, 2**16), st.integers(0, 9), st.binary(max_size=9))
def test_a_request_that_was_tampered_with_is_parsed_or_refused(sent, place, cut, inserted):
    """Bytes replaced, cut out or put in, anywhere, under the old header length."""
    body, headers = sent.parts
    place %= len(body) + 1

    refused(oip.parse, body[:place] + inserted + body[place + cut :], headers, MAX)


@usual
@given(st.binary(max_size=200), st.integers(1, 5))
@example(b"\xff\xff\xff\xff", 1)
def test_any_bytes_are_split_or_refused(raw, count):
    """What is split joins to what it was."""
    parts = refused(tensors.split_elements, memoryview(raw), count)

    assert isinstance(parts, PredictorError) or elements(*map(bytes, parts)) == raw


@thorough
@given(
    JSON_VALUES
    | st.fixed_dictionaries(
        {
            "instances": st.lists(
                JSON_VALUES
                | st.fixed_dictionaries({"b64": st.just("aQ==") | JSON_VALUES})
                | st.fixed_dictionaries({"image_bytes": JSON_VALUES})
                | st.fixed_dictionaries({"ref": st.just("cat.jpg") | JSON_VALUES})
                | st.lists(st.lists(st.lists(JSON_VALUES | st.integers(0, 255), max_size=3))),
                max_size=3,
            )
        }
    )
)
def test_any_v1_json_is_parsed_or_refused(content):
    """An entry for every instance, an error where it cannot be read."""
    request = refused(v1.parse, "POST", {}, json.dumps(content).encode(), MAX)

    if not isinstance(request, PredictorError):
        assert len(content["instances"]) == len(request.images)


@usual
@given(
    st.sampled_from(["POST", "PUT"]),
    st.binary(max_size=30) | st.sampled_from([b"image/png", b"application/json"]),
    st.binary(max_size=300),
)
def test_any_v1_body_is_parsed_or_refused(method, content_type, body):
    """Whatever it claims to be."""
    request = refused(v1.parse, method, {b"content-type": content_type}, body, MAX)

    assert isinstance(request, PredictorError) or request.images == (body,)


GREEDY = {
    "one long text among short ones": tensor(
        "UINT8", [1, 100, 100, 3], data=["1"] * 29_999 + ["1" * 100_000]
    ),
    "one long base64 among short ones": tensor(shape=[8], data=["aQ=="] * 7 + ["?" * 100_000]),
    "a shape of exabytes": tensor("FP32", [8, 2**31, 2**31, 3], data=[1, 2, 3]),
    "nested as deep as JSON goes": tensor(
        "UINT8", [1, 1, 1, 3], data=json.loads("[" * 900 + "]" * 900)
    ),
    "rows of nothing": tensor("UINT8", [1, 1, 1, 3], data=[[]] * 50_000),
    "a rank of thousands": tensor("UINT8", [1] * 50_000, data=[1]),
    "a pixel that is a list of many": tensor("UINT8", [1, 1, 1, 3], data=[*range(3), [0] * 50_000]),
    "an endless name": tensor(name="x" * 100_000),
    "an endless datatype": tensor("x" * 100_000),
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_hostile_request_costs_no_more_than_its_json(name):
    """At most twice what the JSON's objects take: nothing is made as large as a request says."""
    body, headers = plain({"inputs": [GREEDY[name]]})

    assert isinstance(refused(oip.parse, body, headers, MAX), PredictorError)
    allowed = 2 * peak_bytes(orjson.loads, body) + 20_000
    assert peak_bytes(refused, oip.parse, body, headers, MAX) < allowed


def peak_bytes(call: Any, *arguments: Any) -> int:
    """The most memory that is held at once during a call."""
    tracemalloc.start()
    try:
        call(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
