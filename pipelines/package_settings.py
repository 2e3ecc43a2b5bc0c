"""What packaging is told in a pipeline: the keys of ``millrace package --config``, as a mapping."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pydantic

from model_store.errors import SourceError
from model_store.package import Resize
from model_store.request import PackageRequest

# Said by parameters of their own, or by the pipeline itself.
_ELSEWHERE = {"source", "name", "labels", "parity_images", "origin"}
KEYS = {field.name for field in dataclasses.fields(PackageRequest)} - _ELSEWHERE | {"interpolation"}
PATHS = ("calibration_images", "held_out_images", "checkpoint")
_SIDE = r"[1-9]\d{0,3}"
_REQUEST = pydantic.TypeAdapter(PackageRequest)


def package_request(
    source: Path,
    name: str,
    labels: Path,
    parity_images: Path,
    settings: Mapping[str, Any],
    origin: str = "",
) -> PackageRequest:
    """What ``model_store.packaging.package`` takes.

    Args:
        source: as ``PackageRequest`` has it; so are the others but for settings.
        name: the same.
        labels: the same.
        parity_images: the same.
        settings: keys as in the file of ``millrace package --config``, with - or _ in them.
        origin: as ``PackageRequest`` has it.

    Raises:
        SourceError: a key is unknown, or its value does not fit.
    """
    given = {key.replace("-", "_"): _whole(value) for key, value in settings.items()}
    if unknown := sorted(set(given) - KEYS):
        known = ", ".join(sorted(key.replace("_", "-") for key in KEYS))
        raise SourceError(
            f"packaging: unknown key {unknown[0].replace('_', '-')!r}; known: {known}"
        )
    interpolation = given.pop("interpolation", None)
    fields: dict[str, Any] = {}
    for key, value in given.items():
        try:
            fields[key] = _READERS.get(key, _as_it_is)(value)
        except (ValueError, ZeroDivisionError, TypeError):
            raise SourceError(
                f"packaging: {key.replace('_', '-')}: {value!r} does not fit"
            ) from None
    resize = fields.get("resize", Resize(policy="exact"))
    try:
        if interpolation is not None:
            fields["resize"] = Resize.model_validate(
                resize.model_dump() | {"interpolation": interpolation}
            )
        return _REQUEST.validate_python(
            fields
            | {"source": source, "name": name, "labels": labels, "parity_images": parity_images}
            | {"origin": origin}
        )
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]).replace("_", "-")
        raise SourceError(f"packaging: {where}: {first['msg']}") from None


def _whole(value: Any) -> Any:
    """What is whole as a whole number again: KFP makes floats of all numbers on their way."""
    if isinstance(value, Mapping):
        return {key: _whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_it_is(value: Any) -> Any:
    return value


def _number(value: Any) -> float:
    return float(Fraction(str(value).strip()))


def _triple(value: Any) -> tuple[float, ...]:
    parts = value if isinstance(value, (list, tuple)) else str(value).split(",")
    numbers = [_number(part) for part in parts]
    return tuple(numbers * 3 if len(numbers) == 1 else numbers)


def _size(value: Any) -> tuple[int, int]:
    match = re.fullmatch(rf"({_SIDE})(?:x({_SIDE}))?", str(value).strip())
    if match is None:
        raise ValueError(value)
    return int(match[1]), int(match[2] or match[1])


def _resize(value: Any) -> Resize:
    policy, _, size = str(value).strip().partition(":")
    return Resize.model_validate({"policy": policy} | ({"size": int(size)} if size else {}))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else str(value).split(",")


_READERS: dict[str, Callable[[Any], Any]] = {
    "scale": _number,
    "mean": _triple,
    "std": _triple,
    "input_size": _size,
    "crop": _size,
    "resize": _resize,
    "variants": _list,
    "class_offset": int,
    "top_k": int,
}
