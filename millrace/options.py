"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="var/store",
    envvar="MILLRACE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of model packages.",
)
