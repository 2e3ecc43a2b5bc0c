"""The options that benchmarks have in common."""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.page import RESULTS

assets = click.option(
    "--assets",
    default="../shared/assets",
    envvar="MILLRACE_TEST_ASSETS",
    type=click.Path(path_type=Path, exists=True),
    help="Folder of the models and photos; MILLRACE_TEST_ASSETS says the same.",
)
write = click.option("--write", is_flag=True, help=f"Renew the section of {RESULTS.name}.")
