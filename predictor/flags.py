"""The settings as command-line flags, so that a setting exists once and is a flag everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from predictor.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])


def settings_flags(*, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a click command one option per setting, as ``--http-port`` and KServe's ``--http_port``.

    Options that were not given arrive as None, so that environment and file can speak.
    """

    def decorate(command: Command) -> Command:
        for name, field in reversed(Settings.model_fields.items()):
            if name in without:
                continue
            names = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
            command = click.option(
                *names,
                name,
                default=None,
                **_switch(name),
                metavar=_metavar(name),
                help=f"{field.description} [default: {field.default}]",
            )(command)
        return command

    return decorate


def _switch(name: str) -> dict[str, Any]:
    """What lets a switch stand without a value: --follow is --follow true."""
    boolean = Settings.model_fields[name].annotation is bool
    return {"is_flag": False, "flag_value": "true"} if boolean else {}


def _metavar(name: str) -> str:
    kind = Settings.model_fields[name].annotation
    return {int: "N", float: "SECONDS", bool: "[BOOL]", str: "TEXT"}.get(kind, "VALUE")  # type: ignore[arg-type]
