"""``millrace models register|promote|rollback|alias``: what an MLflow registry is told."""

from __future__ import annotations

import datetime
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from millrace.options import store_option
from millrace.output import print_table
from model_store.errors import RegistryError
from model_store.package import load_package
from model_store.registry.address import registry_uri
from model_store.registry.figures import gate_tags
from model_store.registry.promotion import (
    CHAMPION,
    Move,
    delete_alias,
    promote,
    roll_back,
    set_alias,
)
from model_store.registry.reference import names_registry
from model_store.registry.versions import GATE_TAG, TAG, RegisteredVersion, Registry
from model_store.store import resolve

registry_option = click.option(
    "--registry",
    metavar="URI",
    default="",
    help="MLflow tracking URI.  [default: MILLRACE_REGISTRY, else MLFLOW_TRACKING_URI, else "
    "sqlite:///var/mlflow.db]",
)
cache_option = click.option(
    "--cache",
    type=click.Path(path_type=Path),
    default="var/cache",
    envvar="MILLRACE_CACHE",
    show_default=True,
    help="Folder of packages fetched from the registry.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_alias_option = click.option(
    "--alias", default=CHAMPION, show_default=True, help="The alias that moves."
)
_force_option = click.option("--force", is_flag=True, help="Although its gate said no.")


def waiting(what: str) -> AbstractContextManager[Status]:
    """Something that turns on a terminal, while MLflow takes its seconds."""
    return Console(stderr=True).status(what)


@click.command("register")
@click.argument("reference", metavar="MODEL")
@click.option("--as", "name", default="", help="Name in the registry.  [default: the package's]")
@click.option("--alias", default="", help="Point this alias to the version, as promote does.")
@click.option(
    "--gate",
    multiple=True,
    metavar="FILE|KEY=VALUE",
    help="The result of its gate, as tags: a JSON file, or key=value; passed=false keeps the "
    "version from being promoted. Repeatable.",
)
@store_option
@registry_option
@json_option
def register_command(
    reference: str,
    name: str,
    alias: str,
    gate: tuple[str, ...],
    store: Path,
    registry: str,
    as_json: bool,
) -> None:
    """Make a package the next version of a registered model.

    MODEL is a name in the store (its newest version), NAME/VERSION, or a path. All of its files
    become artifacts, with a signature, an input example and its figures as tags.
    """
    from model_store.registry.registering import check_name, register

    if names_registry(reference):
        raise RegistryError(
            f"{reference} is registered already: `millrace models alias` gives it one more name; "
            "another registry takes the folder that `millrace models verify` fetches it into"
        )
    tags = gate_tags(gate)
    package = load_package(resolve(reference, store))
    check_name(name or package.name)
    with waiting("registering"):
        source = Registry(registry_uri(registry), create=True)
        made = register(source, package, name, alias, tags)
    if as_json:
        click.echo(json.dumps(as_row(made)))
        return
    aliases = "".join(f", @{each}" for each in made.aliases)
    click.echo(f"{made.name} version {made.version}{aliases}: {made.reference}")


@click.command("promote")
@click.argument("name")
@click.argument("version", metavar="VERSION|@ALIAS")
@_alias_option
@_force_option
@registry_option
@json_option
def promote_command(
    name: str, version: str, alias: str, force: bool, registry: str, as_json: bool
) -> None:
    """Have NAME's alias champion point to a version; previous is where it pointed before.

    Exit code 1 when the version's gate said no.
    """
    with waiting("promoting"):
        moved = promote(Registry(registry_uri(registry)), name, version, alias, force=force)
    _tell(moved, as_json)


@click.command("rollback")
@click.argument("name")
@_alias_option
@registry_option
@json_option
def rollback_command(name: str, alias: str, registry: str, as_json: bool) -> None:
    """Have NAME's champion point to its previous version again; once."""
    with waiting("rolling back"):
        moved = roll_back(Registry(registry_uri(registry)), name, alias)
    _tell(moved, as_json)


@click.command("alias")
@click.argument("name")
@click.argument("alias")
@click.argument("version", metavar="[VERSION|@ALIAS]", default="")
@click.option("--delete", is_flag=True, help="Take the alias away.")
@_force_option
@registry_option
@json_option
def alias_command(
    name: str, alias: str, version: str, delete: bool, force: bool, registry: str, as_json: bool
) -> None:
    """Point NAME's ALIAS to a version, or take it away; nothing is remembered.

    Exit code 1 when the version's gate said no.
    """
    if bool(version) == delete:
        raise click.UsageError("name a version for the alias, or say --delete")
    with waiting("changing an alias"):
        source = Registry(registry_uri(registry))
        if delete:
            moved = delete_alias(source, name, alias)
        else:
            moved = set_alias(source, name, alias, version, force=force)
    _tell(moved, as_json)


def _tell(moved: Move, as_json: bool) -> None:
    if as_json:
        row = {"name": moved.name, "alias": moved.alias}
        row |= {"version": moved.now, "before": moved.before}
        click.echo(json.dumps(row))
    elif not moved.now:
        click.echo(f"{moved.name}@{moved.alias}: gone; it was version {moved.before}")
    elif moved.before == moved.now:
        click.echo(f"{moved.name}@{moved.alias}: version {moved.now}, as before")
    else:
        was = f"; it was version {moved.before}" if moved.before else ""
        click.echo(f"{moved.name}@{moved.alias}: version {moved.now}{was}")


def print_registered(registry: str, as_json: bool) -> None:
    """What ``millrace models list --registry`` says."""
    with waiting("asking the registry"):
        rows = [as_row(each) for each in Registry(registry_uri(registry)).versions()]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table = Table("name", "version", "aliases", "variants", "gate", "registered", box=None)
    for row in rows:
        tags = row["tags"]
        cells = (
            row["name"],
            row["version"],
            " ".join(row["aliases"]),
            tags.get(f"{TAG}variants", "").replace(",", " "),
            tags.get(GATE_TAG, ""),
            row["registered"],
        )
        table.add_row(*map(Text, cells))
    print_table(table)


def as_row(found: RegisteredVersion) -> dict[str, Any]:
    """A registered version as plain data."""
    registered = datetime.datetime.fromtimestamp(found.created_ms / 1000, datetime.UTC)
    return {
        "name": found.name,
        "version": found.version,
        "uri": str(found.reference),
        "aliases": list(found.aliases),
        "registered": registered.isoformat(timespec="seconds"),
        "tags": found.tags,
    }
