"""``millrace models``: what is in the store and in the registry, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml
from rich.table import Table
from rich.text import Text

from millrace.models_registry import (
    alias_command,
    as_row,
    cache_option,
    json_option,
    print_registered,
    promote_command,
    register_command,
    registry_option,
    rollback_command,
    waiting,
)
from millrace.options import store_option
from millrace.output import print_table
from model_store.errors import ModelStoreError, PackageError
from model_store.package import load_package, read_manifest
from model_store.registry.address import registry_uri
from model_store.registry.fetch import read_registered_manifest
from model_store.registry.location import locate
from model_store.registry.reference import names_registry, parse_model
from model_store.registry.versions import Registry
from model_store.store import StoredPackage, list_packages, resolve


@click.group("models")
def command() -> None:
    """Model packages: in the store, and as versions of models in an MLflow registry."""


for _each in (register_command, promote_command, rollback_command, alias_command):
    command.add_command(_each)


@command.command("list")
@store_option
@click.option(
    "--registry",
    is_flag=False,
    flag_value="",
    metavar="[URI]",
    help="What is registered instead; URI as with register.",
)
@json_option
def list_command(store: Path, registry: str | None, as_json: bool) -> None:
    """List every version of every model in the store, or in a registry."""
    if registry is not None:
        print_registered(registry, as_json)
        return
    rows = [_row(stored) for stored in list_packages(store)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not rows:
        click.echo(f"no models in {store}")
        return
    table = Table(box=None)
    for column in rows[0]:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    print_table(table)


def _row(stored: StoredPackage) -> dict[str, object]:
    row: dict[str, object] = {"name": stored.name, "version": stored.version}
    try:
        manifest = read_manifest(stored.path)
    except PackageError as error:
        return row | {"classes": "", "input": "", "precision": "", "created": str(error)}
    return row | {
        "classes": manifest.classes,
        "input": f"{manifest.input.height}x{manifest.input.width}",
        "precision": " ".join(variant.precision for variant in manifest.variants),
        "created": manifest.provenance.created,
    }


@command.command("show")
@click.argument("reference", metavar="MODEL")
@store_option
@registry_option
@json_option
def show_command(reference: str, store: Path, registry: str, as_json: bool) -> None:
    """Show the manifest of MODEL: a name, NAME/VERSION, a path, or models:/NAME@ALIAS.

    Of a registered version, which is not fetched for it, aliases and tags are shown as well.
    """
    content: dict[str, object]
    if names_registry(reference):
        source = Registry(registry_uri(registry))
        found = source.find(parse_model(reference))
        manifest = read_registered_manifest(found, source)
        content = {"registered": as_row(found)}
    else:
        path = resolve(reference, store)
        manifest = read_manifest(path)
        content = {"path": str(path)}
    content |= manifest.model_dump(mode="json", exclude_none=True)
    if as_json:
        click.echo(json.dumps(content))
    else:
        click.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), nl=False)


@command.command("verify")
@click.argument("references", metavar="[MODEL]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every version of every model.")
@store_option
@registry_option
@cache_option
@json_option
@click.pass_context
def verify_command(
    ctx: click.Context,
    references: tuple[str, ...],
    everything: bool,
    store: Path,
    registry: str,
    cache: Path,
    as_json: bool,
) -> None:
    """Hash every file of each MODEL and run its golden images; exit 1 when one is not sound.

    MODEL is as for show. Of a registered version it is the copy in the cache that is verified, with
    the hash that the registry has of it; what is not there yet is fetched.
    """
    if bool(references) == everything:
        raise click.UsageError("name the models to verify, or say --all")
    with waiting("looking") as status:

        def progress(what: str, done: int, total: int) -> None:
            status.update(f"{what}: {done} of {total} files")

        paths = [locate(each, store, registry, cache, progress) for each in references]
    if everything:
        paths = [stored.path for stored in list_packages(store)]
    found = [_verified(path) for path in paths]
    for one, reference in zip(found, references, strict=False):
        one["cached_copy"] = names_registry(reference)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for one in found:
            what = ", the cached copy" if one["cached_copy"] else ""
            click.echo(f"{one['path']}{what}: {one['error'] or 'ok'}")
    if not all(one["ok"] for one in found):
        ctx.exit(1)


def _verified(path: Path) -> dict[str, object]:
    # onnx and onnxruntime take half a second to import: only this command pays.
    from model_store.golden import check_golden

    result: dict[str, object] = {
        "path": str(path),
        "cached_copy": False,
        "ok": False,
        "error": None,
    }
    try:
        package = load_package(path)
        result["score_difference"] = check_golden(package)
    except ModelStoreError as error:
        return result | {"error": str(error)}
    return result | {"ok": True}
