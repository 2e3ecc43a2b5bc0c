"""``millrace models``: what is in the store, and whether it is sound."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml
from rich.table import Table
from rich.text import Text

from millrace.output import print_table
from model_store.errors import ModelStoreError, PackageError
from model_store.package import load_package, read_manifest
from model_store.store import StoredPackage, list_packages, resolve

_store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    default="var/store",
    envvar="MILLRACE_STORE",
    show_default=True,
    show_envvar=True,
    help="Folder of model packages.",
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("models")
def command() -> None:
    """List, show and verify the model packages in the store."""


@command.command("list")
@_store_option
@_json_option
def list_command(store: Path, as_json: bool) -> None:
    """List every version of every model."""
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
@_store_option
@_json_option
def show_command(reference: str, store: Path, as_json: bool) -> None:
    """Show the manifest of MODEL: a name, NAME/VERSION, or a path."""
    path = resolve(reference, store)
    content = {"path": str(path)} | read_manifest(path).model_dump(mode="json", exclude_none=True)
    if as_json:
        click.echo(json.dumps(content))
    else:
        click.echo(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), nl=False)


@command.command("verify")
@click.argument("references", metavar="[MODEL]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every version of every model.")
@_store_option
@_json_option
@click.pass_context
def verify_command(
    ctx: click.Context, references: tuple[str, ...], everything: bool, store: Path, as_json: bool
) -> None:
    """Hash every file of each MODEL and run its golden images; exit 1 when one is not sound."""
    if bool(references) == everything:
        raise click.UsageError("name the models to verify, or say --all")
    paths = [resolve(reference, store) for reference in references]
    if everything:
        paths = [stored.path for stored in list_packages(store)]
    found = [_verified(path) for path in paths]
    if as_json:
        click.echo(json.dumps(found))
    else:
        for one in found:
            click.echo(f"{one['path']}: {one['error'] or 'ok'}")
    if not all(one["ok"] for one in found):
        ctx.exit(1)


def _verified(path: Path) -> dict[str, object]:
    # onnx and onnxruntime take half a second to import: only this command pays.
    from model_store.golden import check_golden

    result: dict[str, object] = {"path": str(path), "ok": False, "error": None}
    try:
        package = load_package(path)
        result["score_difference"] = check_golden(package)
    except ModelStoreError as error:
        return result | {"error": str(error)}
    return result | {"ok": True}
