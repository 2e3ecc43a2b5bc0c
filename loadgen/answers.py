"""What an answer says of each image, and whether that is right."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from google.protobuf.message import DecodeError

from loadgen.form import Form, Protocol
from loadgen.images import Image, Right
from loadgen.inference import message

KEPT = 8  # bodies remembered per request: repeated ones are judged once, varied ones need no more

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    struct.error,
    DecodeError,
)

ERROR_IN_PLACE = b'"error"'  # v1 answers 200 with an error in the place of a bad image


class UnreadableAnswerError(Exception):
    """An answer that should hold classes does not."""


@dataclass(frozen=True, slots=True)
class Top:
    """The best class for one image, as far as the answer says."""

    index: int | None
    label: str | None

    def is_in(self, right: Right) -> bool:
        """Whether either of the two is accepted."""
        return self.index in right.indices or self.label in right.labels

    def __str__(self) -> str:
        return self.label if self.label is not None else str(self.index)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in one answer.

    Attributes:
        failure: why it is no answer, None where it is one.
        right: images answered rightly.
        judged: images of which the right answer is known.
        wrong: the others of these: (image, what the answer said).
    """

    failure: str | None = None
    right: int = 0
    judged: int = 0
    wrong: tuple[tuple[str, str], ...] = ()


UNJUDGED = Verdict()


class Judge:
    """Reads the answers to a run's requests."""

    def __init__(self, images: Sequence[Image], form: Form) -> None:
        self._images = images
        self._protocol = form.protocol
        self._labelled = any(image.right is not None for image in images)
        self._seen: dict[tuple[int, ...], dict[bytes, Verdict]] = {}

    def judge(self, asked: tuple[int, ...], body: bytes) -> Verdict:
        """A verdict on a successful answer about the images at the places ``asked``."""
        looks_bad = self._protocol.startswith("v1") and ERROR_IN_PLACE in body
        if not self._labelled and not looks_bad:
            return UNJUDGED
        seen = self._seen.setdefault(asked, {})
        verdict = seen.get(body)
        if verdict is None:
            verdict = self._read([self._images[place] for place in asked], body)
            if len(seen) < KEPT:
                seen[body] = verdict
        return verdict

    def _read(self, images: Sequence[Image], body: bytes) -> Verdict:
        try:
            tops = read(self._protocol, body)
        except UnreadableAnswerError as error:
            return Verdict(str(error))
        if len(tops) != len(images):
            return Verdict("answers missing")
        known = [
            (image, top) for image, top in zip(images, tops, strict=True) if image.right is not None
        ]
        wrong = tuple(
            (image.name, str(top))
            for image, top in known
            if image.right and not top.is_in(image.right)
        )
        return Verdict(None, len(known) - len(wrong), len(known), wrong)


def read(protocol: Protocol, body: bytes) -> list[Top]:
    """The best class of every image, in order.

    Raises:
        UnreadableAnswerError: the body is not what the protocol promises.
    """
    try:
        if protocol == "grpc":
            return _grpc(body)
        content = orjson.loads(body)
        return _v1(content) if protocol.startswith("v1") else _v2(content)
    except UnreadableAnswerError:
        raise
    except UNREADABLE as error:
        raise UnreadableAnswerError(f"unreadable answer ({type(error).__name__})") from error


def _v1(content: Any) -> list[Top]:
    predictions = content["predictions"]
    if any("error" in prediction for prediction in predictions):
        raise UnreadableAnswerError("error in an image's place")
    return [Top(entry.get("index"), entry.get("label")) for entry in predictions]


def _v2(content: Any) -> list[Top]:
    columns = {output["name"]: output["data"] for output in content["outputs"]}
    shapes = {output["name"]: output["shape"] for output in content["outputs"]}
    return _tops(columns, shapes)


def _grpc(body: bytes) -> list[Top]:
    answer = message("ModelInferResponse").FromString(body)
    columns: dict[str, list[Any]] = {}
    shapes = {output.name: list(output.shape) for output in answer.outputs}
    for place, output in enumerate(answer.outputs):
        if answer.raw_output_contents:
            columns[output.name] = _raw(output.datatype, answer.raw_output_contents[place])
        elif output.datatype == "BYTES":
            columns[output.name] = [value.decode() for value in output.contents.bytes_contents]
        else:
            columns[output.name] = list(output.contents.int64_contents)
    return _tops(columns, shapes)


def _raw(datatype: str, raw: bytes) -> list[Any]:
    if datatype == "BYTES":
        texts, at = [], 0
        while at < len(raw):
            (length,) = struct.unpack_from("<I", raw, at)
            texts.append(raw[at + 4 : at + 4 + length].decode())
            at += 4 + length
        return texts
    kind = {"INT64": "q", "FP32": "f"}[datatype]
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(kind)}{kind}", raw))


def _tops(columns: dict[str, list[Any]], shapes: dict[str, list[int]]) -> list[Top]:
    """The first of each row."""
    firsts = {
        name: columns[name][:: shapes[name][1]] for name in ("indices", "labels") if name in columns
    }
    count = max((len(first) for first in firsts.values()), default=0)
    indices = firsts.get("indices", [None] * count)
    labels = firsts.get("labels", [None] * count)
    return [Top(index, label) for index, label in zip(indices, labels, strict=True)]
