"""``millrace serve``: a package by name, path or URI, as a whole pod on this machine."""

from __future__ import annotations

from typing import Any

import click

from predictor.flags import settings_flags
from predictor.model_source import find_model
from predictor.process import enter_process
from predictor.settings import read_settings
from predictor.supervisor import serve


@click.command(name="serve", short_help="serve a package over HTTP and gRPC")
@click.argument("model")
@settings_flags(without=("model_dir",))
def command(model: str, **flags: Any) -> None:
    """Serve MODEL until Ctrl-C or SIGTERM, then finish what was accepted and stop.

    MODEL is a name in the store (the newest version), NAME/VERSION, the path or file:// URI of a
    package, or models:/NAME@ALIAS or models:/NAME/VERSION of an MLflow registry; with --follow
    the pod changes to whatever version the alias is moved to. Every flag is also an environment
    variable: --http-port is MILLRACE_HTTP_PORT.
    """
    settings = read_settings(**flags)
    enter_process("millrace: supervisor", settings.log_level)
    serve(settings, find_model(model, settings))
