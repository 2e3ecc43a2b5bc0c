"""KServe's v1 protocol: instances in, predictions out, an error in the place of a bad image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from predictor.errors import BadImageError, BadRequestError, PredictorError
from predictor.protocol.fields import decode_base64, parse_json
from predictor.protocol.http import JSON, Response, json_response
from predictor.protocol.pixels import listed_pixels
from predictor.protocol.tensors import check_count
from predictor.types import Answer, ClassifyRequest, ClassifyResult, Image, Reference, Sent

RAW_TYPES = (b"image/", b"application/octet-stream")


def parse(
    method: str, headers: Mapping[bytes, bytes], body: bytes, max_images: int
) -> ClassifyRequest:
    """Read a v1 predict body: JSON instances, or one raw image.

    An image is told by its Content-Type, or by PUT, which is what ``curl -T cat.jpg`` sends.

    Raises:
        BadRequestError: the body is neither, or empty.
    """
    if is_raw(method, headers):
        if not body:
            raise BadRequestError("the body is empty; it must be one image")
        return ClassifyRequest((body,))
    content = parse_json(body, "a raw image needs Content-Type: image/*")
    instances = content.get("instances") if isinstance(content, dict) else None
    if not isinstance(instances, list) or not instances:
        raise BadRequestError('the request must be {"instances": [at least one]}')
    check_count(len(instances), max_images)
    return ClassifyRequest(tuple(_instance(instance) for instance in instances))


def is_raw(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether the body is an image as it is."""
    kind = headers.get(b"content-type", b"").lower()
    return kind.startswith(RAW_TYPES) or (method == "PUT" and not kind.startswith(JSON))


def render(result: ClassifyResult, labels: Sequence[bytes]) -> Response:
    """One prediction or one error for each instance, in order."""
    return json_response({"predictions": [_prediction(answer, labels) for answer in result]})


def _instance(instance: Any) -> Sent | PredictorError:
    """An instance that cannot be read fails alone, like an image that cannot be decoded."""
    try:
        if isinstance(instance, dict):
            holder = instance.get("image_bytes", instance)
            text = holder.get("b64") if isinstance(holder, dict) else None
            if isinstance(text, str):
                return decode_base64(text, "b64")
            name = instance.get("ref")
            if isinstance(name, str):
                return Reference(name)
            raise BadImageError(
                'an instance is {"image_bytes": {"b64": …}}, {"b64": …} or {"ref": name}'
            )
        return _nested_pixels(instance)
    except BadRequestError as error:
        return error


def _nested_pixels(instance: Any) -> Image:
    if not isinstance(instance, list):
        raise BadImageError("an instance is an object with b64 or ref, or rows of pixels [H][W][3]")
    pixels = listed_pixels(instance)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise BadImageError(f"pixels must be [H][W][3], not {list(pixels.shape)}")
    return pixels


def _prediction(answer: Answer | PredictorError, labels: Sequence[bytes]) -> dict[str, Any]:
    if isinstance(answer, PredictorError):
        return {"error": str(answer)}
    top = [
        {"label": labels[index].decode(), "index": index, "score": score}
        for index, score in zip(answer.indices.tolist(), answer.scores.tolist(), strict=True)
    ]
    return {**top[0], "top": top}
