"""Well-formed requests as they come over the wire, for tests and for the fuzzer's first corpus."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

from predictor.protocol import oip

Parts = tuple[bytes, dict[bytes, bytes]]  # body and headers


def elements(*images: bytes) -> bytes:
    """A raw BYTES tensor."""
    return b"".join(struct.pack("<I", len(image)) + image for image in images)


def base64_text(image: bytes) -> str:
    """An image as JSON carries it."""
    return base64.b64encode(image).decode()


def tensor(datatype: str = "BYTES", shape: object = (1,), **more: Any) -> dict[str, Any]:
    """One input tensor's description."""
    return {"name": "image", "datatype": datatype, "shape": shape} | more


def sized(raw: bytes, **more: Any) -> dict[str, Any]:
    """A request header whose only tensor is binary."""
    parameters = {"binary_data_size": len(raw)}
    return {"inputs": [tensor(**{"parameters": parameters, **more})]}


def binary(header: object, raw: bytes = b"") -> Parts:
    """A request in the binary extension."""
    text = json.dumps(header).encode()
    return text + raw, {oip.HEADER_LENGTH: str(len(text)).encode()}


def plain(header: object) -> Parts:
    """A request of JSON alone."""
    return json.dumps(header).encode(), {}


def one(**more: Any) -> Parts:
    """A request of one image in JSON, with more at the top of it."""
    return plain({"inputs": [tensor(data=["aW1hZ2U="])], **more})


def one_tensor(**more: Any) -> Parts:
    """A request of one tensor in JSON that is well-formed but for what is given."""
    return plain({"inputs": [{**tensor(data=["aW1hZ2U="]), **more}]})
