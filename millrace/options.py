"""Options that several commands have, and what they mean."""

from __future__ import annotations

from pathlib import Path

import click

from model_store.package import ModelPackage, load_package
from model_store.registry.location import locate
from predictor.settings import read_settings

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="var/store",
    envvar="MILLRACE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of model packages.",
)


def package_named(reference: str, store: Path) -> ModelPackage:
    """The package that a user names: in ``store``, at a path, or in the registry of the settings.

    Raises:
        ModelStoreError: there is none; says what there is.
    """
    settings = read_settings(store=store)
    return load_package(locate(reference, store, settings.registry, settings.cache))
