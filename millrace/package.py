"""``millrace package``: a network and its labels become a model package in the store."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from millrace.models_registry import cache_option, registry_option
from millrace.package_config import read_config, schema
from millrace.package_options import with_options
from millrace.package_output import as_json, plan_as_json, plan_summary, progress, summary
from model_store.package import Resize
from model_store.registry.reference import names_registry
from model_store.request import PackageRequest


def _print_schema(context: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(json.dumps(schema(context.command), indent=2))
        context.exit()


@click.command("package")
@click.argument("source", type=click.Path(path_type=Path))
@with_options
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=read_config,
    help="YAML file with these flags, and source, as keys; paths in it start at the file; flags "
    "win.",
)
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON schema of that file, for editors, and do nothing else.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Read and check everything, say what would be made, and write nothing.",
)
@registry_option
@cache_option
@click.option("--json", "json_wanted", is_flag=True, help="Print the result as JSON.")
def command(
    store: Path,
    registry: str,
    cache: Path,
    dry_run: bool,
    json_wanted: bool,
    resize: Resize,
    interpolation: str,
    **settings: Any,
) -> None:
    """Make a model package of the network SOURCE and put it into the store.

    SOURCE is an ONNX file, a torch.export program (.pt2), module:factory with a --checkpoint, or a
    folder in which MLflow saved a model of its onnx or pytorch flavor, also by a registry's URI
    (models:/NAME/VERSION, models:/NAME@ALIAS, runs:/ID/PATH).

    The package's graph takes plain uint8 images and gives the best classes. It is refused unless
    it answers as the original network does on the parity images. Faster variants of it are made
    on demand, and refused unless they agree with it on images that they were not made with.
    """
    # onnx and onnxruntime take half a second to import: only this command pays.
    from model_store.packaging import package
    from model_store.plan import plan

    with progress() as report, ExitStack() as until_made:
        if dry_run:
            cache = Path(until_made.enter_context(TemporaryDirectory(prefix="millrace-dry-run-")))
        settings |= _local(settings["source"], registry, cache)
        request = PackageRequest(
            resize=resize.model_copy(update={"interpolation": interpolation}), **settings
        )
        if dry_run:
            planned = plan(request, store, report)
        else:
            made = package(request, store, report)
    if dry_run:
        click.echo(json.dumps(plan_as_json(planned)) if json_wanted else plan_summary(planned))
    else:
        click.echo(json.dumps(as_json(made)) if json_wanted else summary(made))


def _local(source: Path, registry: str, cache: Path) -> dict[str, Any]:
    """SOURCE as a path, and its origin; an MLflow model is fetched from its registry first."""
    if not names_registry(str(source)):
        return {"source": source}
    from model_store.registry.fetch import fetch_model_folder

    fetched = fetch_model_folder(str(source), registry, cache)
    return {"source": fetched.path, "origin": fetched.origin}
