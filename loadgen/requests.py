"""Whole requests, made before the clock starts, so that the hot loop only writes and reads."""

from __future__ import annotations

import base64
import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import numpy as np
import orjson

from loadgen.errors import LoadError
from loadgen.form import INPUT, REQUEST_ID, Form
from loadgen.images import Image, Pixels
from loadgen.inference import message

BINARY = "application/octet-stream"
JSON = "application/json"
REF = "ref"  # content_type of elements that name an image which the pod holds


@dataclass(frozen=True, slots=True, eq=False)  # one is looked up by what it is, not by its bytes
class Request:
    """One request as bytes.

    Attributes:
        images: places of its images in the run's images.
        start: HTTP's request line; empty for gRPC.
        headers: HTTP's header lines and the empty one that ends them, without Host.
        body: HTTP's body, or gRPC's message.
    """

    images: tuple[int, ...]
    start: bytes
    headers: bytes
    body: bytes | memoryview

    def head(self, host: str) -> bytes:
        """All that comes before the body, for a server called ``host``."""
        if b"\r\nhost:" in b"\r\n" + self.headers.lower():
            return self.start + self.headers
        return self.start + f"Host: {host}\r\n".encode() + self.headers


def render(images: Sequence[Image], form: Form) -> tuple[Request, ...]:
    """Every image once, in requests of ``images_per_request``; the last is filled from the front.

    Raises:
        LoadError: there is no image, or the protocol cannot carry one of them.
    """
    if not images:
        raise LoadError("there are no images to send: name files or folders")
    make = {"v2": _v2, "v2-json": _v2_json, "v1": _v1, "v1-raw": _v1_raw, "grpc": _grpc}
    return tuple(
        make[form.protocol](group, [images[place] for place in group], form)
        for group in _groups(images, form.images_per_request)
    )


def _groups(images: Sequence[Image], size: int) -> Iterator[tuple[int, ...]]:
    """Places of images of one kind each: a tensor's elements are all alike."""
    kinds: dict[object, list[int]] = {}
    for place, image in enumerate(images):
        kind = image.content.shape if isinstance(image.content, np.ndarray) else type(image.content)
        kinds.setdefault(kind, []).append(place)
    for places in kinds.values():
        around = itertools.cycle(places)
        for _ in range(math.ceil(len(places) / size)):
            yield tuple(itertools.islice(around, size))


@dataclass(frozen=True, slots=True)
class _Tensor:
    datatype: str
    shape: list[int]
    raw: bytes
    content_type: str | None = None


def _tensor(images: Sequence[Image]) -> _Tensor:
    pixels = [image.content for image in images if isinstance(image.content, np.ndarray)]
    if pixels:
        return _Tensor("UINT8", [len(pixels), *pixels[0].shape], b"".join(map(_bytes, pixels)))
    held = images[0].content is None
    elements = [_held_name(image) if held else _encoded(image) for image in images]
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    return _Tensor("BYTES", [len(images)], raw, REF if held else None)


def _v2(group: tuple[int, ...], images: Sequence[Image], form: Form) -> Request:
    tensor = _tensor(images)
    parameters: dict[str, Any] = {"binary_data_size": len(tensor.raw)}
    if tensor.content_type:
        parameters["content_type"] = tensor.content_type
    head = _infer(form, tensor, {"parameters": parameters})
    more = [("Inference-Header-Content-Length", str(len(head)))]
    return _post(group, _v2_path(form), BINARY, head + tensor.raw, form, more)


def _v2_json(group: tuple[int, ...], images: Sequence[Image], form: Form) -> Request:
    tensor = _tensor(images)
    more: dict[str, Any] = {}
    if tensor.datatype == "UINT8":
        more["data"] = list(tensor.raw)
    elif tensor.content_type:
        more["data"] = [image.name for image in images]
        more["parameters"] = {"content_type": tensor.content_type}
    else:
        more["data"] = [base64.b64encode(_encoded(image)).decode() for image in images]
        more["parameters"] = {"content_type": "base64"}
    return _post(group, _v2_path(form), JSON, _infer(form, tensor, more), form)


def _infer(form: Form, tensor: _Tensor, more: dict[str, Any]) -> bytes:
    shape = {"name": INPUT, "shape": tensor.shape, "datatype": tensor.datatype}
    content: dict[str, Any] = {
        "id": REQUEST_ID,
        "inputs": [shape | more],
        "outputs": [{"name": name} for name in form.outputs],
    }
    if form.priority:
        content["parameters"] = {"priority": form.priority}
    return orjson.dumps(content)


def _v1(group: tuple[int, ...], images: Sequence[Image], form: Form) -> Request:
    _refuse_held(images, form)
    instances = [
        image.content.tolist()
        if isinstance(image.content, np.ndarray)
        else {"image_bytes": {"b64": base64.b64encode(_encoded(image)).decode()}}
        for image in images
    ]
    return _post(group, _v1_path(form), JSON, orjson.dumps({"instances": instances}), form)


def _v1_raw(group: tuple[int, ...], images: Sequence[Image], form: Form) -> Request:
    _refuse_held(images, form)
    if len(images) > 1:
        raise LoadError("v1-raw carries one image a request: use v2 for more")
    return _post(group, _v1_path(form), BINARY, _encoded(images[0]), form)


def _grpc(group: tuple[int, ...], images: Sequence[Image], form: Form) -> Request:
    tensor = _tensor(images)
    call = message("ModelInferRequest")(model_name=form.model, id=REQUEST_ID)
    given = call.inputs.add(name=INPUT, datatype=tensor.datatype, shape=tensor.shape)
    if tensor.content_type:
        given.parameters["content_type"].string_param = tensor.content_type
    if form.priority:
        call.parameters["priority"].int64_param = form.priority
    for name in form.outputs:
        call.outputs.add(name=name)
    call.raw_input_contents.append(tensor.raw)
    return Request(group, b"", b"", call.SerializeToString())


def _post(
    group: tuple[int, ...],
    path: str,
    content_type: str,
    body: bytes,
    form: Form,
    more: Sequence[tuple[str, str]] = (),
) -> Request:
    length = ("Content-Length", str(len(body)))
    lines = [("Content-Type", content_type), *more, length, *form.headers]
    headers = "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return Request(group, f"POST {path} HTTP/1.1\r\n".encode(), headers.encode(), body)


def _v2_path(form: Form) -> str:
    return f"/v2/models/{quote(form.model)}/infer"


def _v1_path(form: Form) -> str:
    return f"/v1/models/{quote(form.model)}:predict"


def _encoded(image: Image) -> bytes:
    if not isinstance(image.content, bytes):
        raise LoadError(f"this protocol cannot carry {image.name} as pixels: use v2 or grpc")
    return image.content


def _held_name(image: Image) -> bytes:
    return image.name.encode()


def _bytes(pixels: Pixels) -> bytes:
    return pixels.tobytes()


def _refuse_held(images: Sequence[Image], form: Form) -> None:
    if any(image.content is None for image in images):
        raise LoadError(f"{form.protocol} cannot name images that the pod holds: use v2 or grpc")
