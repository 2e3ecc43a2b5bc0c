"""Whole requests, made before the clock starts, so that a load tool only copies bytes."""

from __future__ import annotations

import base64
import importlib
import io
import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

GRPC_PATH = "/inference.GRPCInferenceService/ModelInfer"
OUTPUTS = ("indices", "scores")
REQUEST_ID = "bench"  # of fixed length, so that all answers to one request are equally long

Payload = Callable[[str, bytes], bytes]  # (model name, JPEG) to the bytes on the wire


def v1_base64(model: str, jpeg: bytes) -> bytes:
    """The v1 protocol as KServe documents it: JSON, the image in base64."""
    encoded = base64.b64encode(jpeg).decode()
    body = json.dumps({"instances": [{"image_bytes": {"b64": encoded}}]}).encode()
    return _post(f"/v1/models/{model}:predict", ["Content-Type: application/json"], body)


def v1_raw(model: str, jpeg: bytes) -> bytes:
    """The image alone as the body of a v1 request; KServe hands it to the model unparsed."""
    return _post(f"/v1/models/{model}:predict", ["Content-Type: image/jpeg"], jpeg)


def v2_binary(model: str, jpeg: bytes) -> bytes:
    """The v2 protocol with the binary extension: a JSON header, then the raw image."""
    return _v2(model, "BYTES", [1], struct.pack("<I", len(jpeg)) + jpeg)


def v2_pixels(model: str, jpeg: bytes, size: tuple[int, int]) -> bytes:
    """The same with the image's pixels at ``size`` (W, H), so that nothing is left to decode."""
    with Image.open(io.BytesIO(jpeg)) as image:
        pixels = np.asarray(image.convert("RGB").resize(size))
    return _v2(model, "UINT8", [1, *pixels.shape], pixels.tobytes())


def v2_noise(model: str, images: int, size: int, seed: int) -> bytes:
    """``images`` of random pixels, ``size`` by ``size``, in one request with nothing to decode."""
    shape = (images, size, size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return _v2(model, "UINT8", shape, pixels.tobytes())


def v2_named(model: str, name: str) -> bytes:
    """One image that the pod has preloaded, by its name."""
    element = name.encode()
    tensor = struct.pack("<I", len(element)) + element
    return _v2(model, "BYTES", [1], tensor, content_type="ref")


def _v2(model: str, datatype: str, shape: Sequence[int], tensor: bytes, **parameters: str) -> bytes:
    header = json.dumps(
        {
            "id": REQUEST_ID,
            "inputs": [
                {
                    "name": "image",
                    "shape": list(shape),
                    "datatype": datatype,
                    "parameters": {"binary_data_size": len(tensor), **parameters},
                }
            ],
            "outputs": [{"name": name} for name in OUTPUTS],
        }
    ).encode()
    headers = [
        "Content-Type: application/octet-stream",
        f"Inference-Header-Content-Length: {len(header)}",
    ]
    return _post(f"/v2/models/{model}/infer", headers, header + tensor)


def grpc_frame(model: str, jpeg: bytes) -> bytes:
    """A gRPC message of v2 ``ModelInfer`` as it lies in the HTTP/2 body."""
    message = grpc_message(model, jpeg)
    return struct.pack(">BI", 0, len(message)) + message


def grpc_message(model: str, jpeg: bytes) -> bytes:
    """A serialised ``ModelInferRequest`` with one raw image."""
    messages = grpc_messages()
    request = messages.ModelInferRequest(model_name=model, id=REQUEST_ID)
    request.inputs.add(name="image", datatype="BYTES", shape=[1])
    for name in OUTPUTS:
        request.outputs.add(name=name)
    request.raw_input_contents.append(struct.pack("<I", len(jpeg)) + jpeg)
    message: bytes = request.SerializeToString()
    return message


def grpc_messages() -> ModuleType:
    """KServe's generated protobuf classes; imported late, as importing kserve reads ``sys.argv``.

    Not tritonclient's: a process that has one cannot load the other.
    """
    return importlib.import_module("kserve.protocol.grpc.grpc_predict_v2_pb2")


def _post(path: str, headers: Sequence[str], body: bytes) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request on disk for the load tools."""

    file: Path
    content: bytes


def prepare(payload: Payload, model: str, jpegs: Sequence[bytes], folder: Path) -> list[Prepared]:
    """Write one request per image into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    prepared = []
    for number, jpeg in enumerate(jpegs):
        file = folder / f"{number:02d}.request"
        content = payload(model, jpeg)
        file.write_bytes(content)
        prepared.append(Prepared(file, content))
    return prepared
