"""The configuration file of ``millrace package``: its flags as keys, and a JSON schema of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import yaml

from millrace.package_options import (
    factory_args,
    number,
    per_channel,
    resize,
    size,
    variants,
)
from model_store.errors import SourceError
from model_store.plain_yaml import safe_load
from model_store.request import VARIANTS, check_path
from model_store.sources.kinds import is_file

PATHS = (
    "labels",
    "parity_images",
    "calibration_images",
    "held_out_images",
    "checkpoint",
    "store",
    "cache",
)
NO_KEYS = ("config", "schema", "dry_run", "json_wanted", "help")
_NUMBER = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^[-+0-9./eE ]+$"}]}
_SIDE = r"[1-9]\d{0,3}"
_TYPES: dict[Callable[[object], object], dict[str, Any]] = {
    number: _NUMBER,
    per_channel: {
        "anyOf": [
            {"type": "number"},
            {"type": "string", "pattern": r"^[-+0-9./eE, ]+$"},
            {"type": "array", "items": _NUMBER, "minItems": 1, "maxItems": 3},
        ]
    },
    size: {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 9999},
            {"type": "string", "pattern": f"^{_SIDE}(x{_SIDE})?$"},
        ]
    },
    resize: {"type": "string", "pattern": f"^(shortest-side:{_SIDE}|exact|letterbox)$"},
    variants: {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "items": {"enum": list(VARIANTS)}, "uniqueItems": True},
        ]
    },
    factory_args: {"type": "object"},
}


def read_config(ctx: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    """Let the keys of a YAML file stand for the flags that are not given.

    Raises:
        SourceError: it cannot be read, or has a key that is no flag or a path that is none.
    """
    if file is None:
        return None
    try:
        content = safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SourceError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SourceError(f"{file}: must hold `flag: value` lines, such as `name: resnet`")
    values = {str(key).replace("-", "_"): value for key, value in content.items()}
    known = {str(param.name) for param in keys(ctx.command)}
    unknown = sorted(set(values) - known)
    if unknown:
        there = ", ".join(sorted(name.replace("_", "-") for name in known))
        raise SourceError(f"{file}: unknown key {unknown[0].replace('_', '-')!r}; known: {there}")
    paths = [key for key in PATHS if key in values]
    if "source" in values and is_file(str(values["source"])):
        paths.append("source")
    for key in paths:
        path = file.parent / str(values[key])
        check_path(path)
        values[key] = str(path)
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return file


def keys(command: click.Command) -> list[click.Parameter]:
    """The parameters of the command that may stand in its file."""
    return [param for param in command.params if param.name not in NO_KEYS]


def schema(command: click.Command) -> dict[str, Any]:
    """The JSON schema (2020-12) of the file, made of the command's flags."""
    properties = {str(param.name).replace("_", "-"): _property(param) for param in keys(command)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "millrace package --config",
        "description": "What `millrace package` is told about a network; flags win over the file.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def _property(param: click.Parameter) -> dict[str, Any]:
    if not isinstance(param, click.Option):
        return {
            "description": "An ONNX file, a .pt2 program, module:factory, or a folder of MLflow's.",
            "type": "string",
        }
    described: dict[str, Any] = {"description": " ".join((param.help or "").split())}
    # A default that is no plain value, such as an empty tuple, is told in words.
    if isinstance(param.default, (str, int, float)) and param.default != "{}":
        described["default"] = param.default
    return described | _type(param)


def _type(param: click.Option) -> dict[str, Any]:
    kind = param.type
    if isinstance(kind, click.types.FuncParamType):
        return _TYPES[kind.func]
    if isinstance(kind, click.Choice):
        return {"enum": list(kind.choices)}
    if isinstance(kind, click.FloatRange):
        return {"type": "number", "minimum": kind.min, "maximum": kind.max}
    if isinstance(kind, click.IntRange):
        return {"type": "integer", "minimum": kind.min}
    return {"type": "string"}
