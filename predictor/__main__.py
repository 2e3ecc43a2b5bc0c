"""The container's entry: ``python -m predictor``, with the flags KServe passes."""

from __future__ import annotations

import sys
from typing import Any

import click

from model_store.errors import ModelStoreError
from predictor.errors import StartupError
from predictor.flags import settings_flags
from predictor.model_source import find_model
from predictor.process import enter_process
from predictor.settings import read_settings
from predictor.supervisor import serve


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_flags()
def main(**flags: Any) -> None:
    """Serve the model package at --model-dir over KServe's v1, v2 REST and gRPC protocols.

    Every flag is also an environment variable: --http-port is MILLRACE_HTTP_PORT.
    """
    try:
        settings = read_settings(**flags)
        enter_process("millrace: supervisor", settings.log_level)
        serve(settings, find_model(str(settings.model_dir), settings, by_name=False))
    except (StartupError, ModelStoreError) as error:
        click.echo(f"millrace: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
