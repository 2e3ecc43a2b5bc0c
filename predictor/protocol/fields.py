"""Fields of a v2 request that mean the same over REST and gRPC: parameters, ids, base64."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from predictor.errors import BadRequestError, BadTensorError, TooLargeError
from predictor.protocol.request_id import new_id
from predictor.types import Options, Reference

LONGEST_TIMEOUT_US = 3600 * 1_000_000  # nobody waits longer; keeps deadlines within 64 bits
# Pixels of 1000x1000 nested in lists: a quarter of a second, in which a single call into the parser
# holds the interpreter's lock, and half a gigabyte of Python objects.
MOST_JSON_VALUES = 4_200_000
LONGEST_ID = 1024  # characters; an id is echoed, and kept as long as its request
# What images begin with in base64: JPEG, PNG, GIF, WebP. No image file begins with these letters.
BASE64_IMAGES = (b"/9j/", b"iVBO", b"R0lG", b"UklG")
TIMEOUT_HEADERS = (b"x-request-timeout-ms", b"x-envoy-expected-rq-timeout-ms")
# The content_types of BYTES that are looked at.
BASE64 = "base64"
REFERENCE = "ref"


def parse_json(data: bytes | memoryview, hint: str = "") -> Any:
    """A request's JSON; ``hint`` is what else to tell a client whose body is none.

    Raises:
        BadRequestError: it is not valid.
        TooLargeError: it holds more values than are worth parsing.
    """
    if len(data) > MOST_JSON_VALUES:  # fewer bytes cannot hold more
        text = bytes(data)
        if sum(map(text.count, (b",", b"[", b"{"))) > MOST_JSON_VALUES:
            raise TooLargeError(
                f"the request has more than {MOST_JSON_VALUES} JSON values; "
                "send pixels in the binary extension"
            )
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        more = f" ({hint})" if hint else ""
        raise BadRequestError(f"the request is not valid JSON: {error}{more}") from None


def json_object(data: bytes | memoryview, hint: str = "") -> dict[str, Any]:
    """The same, where it must be an object.

    Raises:
        BadRequestError, TooLargeError: as ``parse_json``, or it is something else.
    """
    content = parse_json(data, hint)
    if not isinstance(content, dict):
        raise BadRequestError("the request must be a JSON object")
    return content


def options(parameters: Mapping[str, Any]) -> Options:
    """The request parameters this server knows; others are ignored, as the extension says."""
    timeout_us = whole(parameters, "timeout")
    return Options(
        timeout_us=min(timeout_us, LONGEST_TIMEOUT_US) if timeout_us else None,
        priority=whole(parameters, "priority") or 0,
        top_k=whole(parameters, "top_k"),
    )


def time_limit_us(headers: Mapping[bytes, bytes]) -> int | None:
    """How long an HTTP client, or the proxy before it, says it waits; None where none does.

    Raises:
        BadRequestError: a header is no number of milliseconds.
    """
    limits = []
    for name in TIMEOUT_HEADERS:
        given = headers.get(name)
        if given is None:
            continue
        if not (given.isdigit() and given.isascii() and len(given) <= 12):
            text = given[:50].decode("latin-1")
            raise BadRequestError(f"{name.decode()} is {text!r}; it takes whole milliseconds")
        if int(given):  # Envoy's 0 means that there is no limit
            limits.append(min(int(given) * 1000, LONGEST_TIMEOUT_US))
    return min(limits, default=None)


def request_id(given: object) -> str:
    """The id a request came with, or a new one where it has none.

    Raises:
        BadRequestError: it is no string, or too long to be echoed.
    """
    if given is None or given == "":
        return new_id()
    if not isinstance(given, str):
        raise BadRequestError("id must be a string")
    if len(given) > LONGEST_ID:
        raise BadRequestError(f"id has {len(given)} characters; the limit is {LONGEST_ID}")
    return given


def declared_elements(
    elements: Sequence[bytes | memoryview], parameters: Mapping[str, Any]
) -> tuple[bytes | memoryview | Reference, ...]:
    """Raw BYTES elements as they are, or out of base64 where that is declared or unmistakable.

    Declared as references they are the names of preloaded images.

    Raises:
        BadTensorError: declared by ``content_type``, but an element is none.
    """
    content_type = parameters.get("content_type")
    if content_type == REFERENCE:  # what is not UTF-8 becomes a name that no image has
        return tuple(Reference(str(item, "utf-8", "surrogateescape")) for item in elements)
    if content_type != BASE64:
        return tuple(
            undeclared_base64(item) if bytes(item[:4]) in BASE64_IMAGES else item
            for item in elements
        )
    return tuple(decode_base64(item, f"element {place}") for place, item in enumerate(elements))


def undeclared_base64(element: bytes | memoryview) -> bytes | memoryview:
    """An element that begins as an image in base64 does: decoded, if all of it is base64."""
    try:
        return decode_base64(element, "it")
    except BadTensorError:
        return element


def decode_base64(text: str | bytes | memoryview, what: str) -> bytes:
    """Base64 (standard alphabet, padded, white space forbidden) → bytes.

    Raises:
        BadTensorError: it is none; says which one.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadTensorError(
            f"{what} is not base64 (standard alphabet, padded, no white space)"
        ) from None


def whole(parameters: Mapping[str, Any], name: str) -> int | None:
    """A whole-number parameter; None when it is not given.

    Raises:
        BadRequestError: it is something else, or negative.
    """
    value = parameters.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 0:
        raise BadRequestError(f"parameter {name} must be a whole number of at least 0")
    return value
