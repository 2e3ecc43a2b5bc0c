"""The v2 protocol's binary form, as far as the analyzer speaks it: images out, best classes in."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OUTPUTS = ("indices", "scores", "labels")
HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH = struct.Struct("<I")


class WireError(Exception):
    """What came is no answer to what was asked; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class WireAnswers:
    """Best classes of n images: int64 (n, k), float32 (n, k), and their labels, n·k of them."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]


def request(images: Sequence[bytes], priority: int = 0) -> tuple[bytes, dict[str, str]]:
    """The body and headers that ask for the best classes of encoded images.

    Args:
        images: JPEGs and the like.
        priority: level, from 1; 0 leaves it to the pod.
    """
    content = b"".join(_LENGTH.pack(len(image)) + image for image in images)
    header: dict[str, Any] = {
        "inputs": [
            {
                "name": "image",
                "datatype": "BYTES",
                "shape": [len(images)],
                "parameters": {"binary_data_size": len(content)},
            }
        ],
        "outputs": [{"name": name, "parameters": {"binary_data": True}} for name in OUTPUTS],
    }
    if priority:
        header["parameters"] = {"priority": priority}
    text = json.dumps(header).encode()
    return text + content, {
        "Content-Type": "application/octet-stream",
        HEADER_LENGTH: str(len(text)),
    }


def answers(body: bytes, header_length: str | None, images: int) -> WireAnswers:
    """Read an answer for so many images.

    Raises:
        WireError: says what is wrong with it.
    """
    try:
        length = int(header_length or len(body))
        outputs = {output["name"]: output for output in json.loads(body[:length])["outputs"]}
        binary = _Binary(body, length)
        values = {name: binary.take(output) for name, output in outputs.items()}
        shape = outputs["indices"]["shape"]
        indices = np.array(_numbers(values["indices"], "<i8"), np.int64).reshape(shape)
        scores = np.array(_numbers(values["scores"], "<f4"), np.float32).reshape(shape)
        labels = _texts(values["labels"])
    except (ValueError, KeyError, TypeError, struct.error, UnicodeDecodeError) as error:
        raise WireError(f"no v2 answer with {', '.join(OUTPUTS)}: {error!r}") from None
    if indices.ndim != 2 or len(indices) != images or indices.size != len(labels):
        raise WireError(f"answers of shape {list(shape)} to {images} images")
    return WireAnswers(indices, scores, labels)


class _Binary:
    """The tensors behind the header, in the order of the outputs."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._at = start

    def take(self, output: dict[str, Any]) -> Any:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            return output["data"]
        self._at += size
        if self._at > len(self._body):
            raise ValueError("the body is shorter than its tensors")
        return self._body[self._at - size : self._at]


def _numbers(value: Any, kind: str) -> Any:
    return np.frombuffer(value, kind) if isinstance(value, bytes) else value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, bytes):
        return tuple(str(text) for text in np.ravel(value).tolist())
    texts, at = [], 0
    while at < len(value):
        (length,) = _LENGTH.unpack_from(value, at)
        at += _LENGTH.size + length
        if at > len(value):
            raise ValueError("a label is cut off")
        texts.append(value[at - length : at].decode())
    return tuple(texts)
