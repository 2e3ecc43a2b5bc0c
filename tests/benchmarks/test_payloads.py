"""The requests the load tools send are what the protocols say."""

import base64
import json
import struct

from benchmarks import payloads

JPEG = b"\xff\xd8 not really a photo \r\n\r\n\xff\xd9"


def split(request):
    """Request line, headers by lower-case name, body."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    return line, {key.lower(): value for key, value in (h.split(": ") for h in headers)}, body


def test_v1_has_the_image_in_base64():
    """As KServe's documentation asks for bytes."""
    line, headers, body = split(payloads.v1_base64("net", JPEG))
    assert line == "POST /v1/models/net:predict HTTP/1.1"
    assert headers["content-length"] == str(len(body))
    instance = json.loads(body)["instances"][0]
    assert base64.b64decode(instance["image_bytes"]["b64"]) == JPEG


def test_v1_raw_is_the_image_and_nothing_else():
    """With a content type that no server takes for JSON."""
    _, headers, body = split(payloads.v1_raw("net", JPEG))
    assert headers["content-type"] == "image/jpeg"
    assert body == JPEG


def test_v2_binary_has_a_json_header_and_a_length_before_the_image():
    """The binary tensor extension for one BYTES element."""
    line, headers, body = split(payloads.v2_binary("net", JPEG))
    assert line == "POST /v2/models/net/infer HTTP/1.1"
    length = int(headers["inference-header-content-length"])
    header, tensor = json.loads(body[:length]), body[length:]
    (image,) = header["inputs"]
    assert (image["shape"], image["datatype"]) == ([1], "BYTES")
    assert image["parameters"]["binary_data_size"] == len(tensor)
    assert tensor == struct.pack("<I", len(JPEG)) + JPEG


def test_a_grpc_frame_is_an_uncompressed_message_with_its_length():
    """Five bytes before the protobuf."""
    frame = payloads.grpc_frame("net", JPEG)
    compressed, length = struct.unpack(">BI", frame[:5])
    assert (compressed, length) == (0, len(frame) - 5)
    request = payloads.grpc_messages().ModelInferRequest.FromString(frame[5:])
    assert request.model_name == "net"
    assert list(request.raw_input_contents) == [struct.pack("<I", len(JPEG)) + JPEG]


def test_requests_are_written_one_file_each(tmp_path):
    """In the photos' order."""
    prepared = payloads.prepare(payloads.v1_raw, "net", [b"first", b"second"], tmp_path)
    assert [each.file.name for each in prepared] == ["00.request", "01.request"]
    assert [each.file.read_bytes() for each in prepared] == [each.content for each in prepared]


def test_v2_named_has_a_name_in_the_place_of_the_image():
    """And says so."""
    _, headers, body = split(payloads.v2_named("net", "a/b.jpg"))
    length = int(headers["inference-header-content-length"])
    (image,) = json.loads(body[:length])["inputs"]
    assert image["parameters"] == {"binary_data_size": 11, "content_type": "ref"}
    assert body[length:] == struct.pack("<I", 7) + b"a/b.jpg"
