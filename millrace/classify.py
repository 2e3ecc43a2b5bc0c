"""``millrace classify``: the same decode and runtime as the server, in this process."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import numpy as np
from rich.table import Table
from rich.text import Text

from millrace.cli import ANSWER_IS_NO
from millrace.output import print_table
from model_store.package import ModelPackage, load_package
from model_store.registry.location import locate
from predictor.decode import decode
from predictor.errors import BadImageError
from predictor.runtimes import Runtime
from predictor.runtimes.loading import candidates, load_runtime
from predictor.settings import Settings, read_settings


@click.command(name="classify", short_help="classify image files here, without a server")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--model",
    required=True,
    help="name in the store, NAME/VERSION, a path, or models:/NAME@ALIAS",
)
@click.option("--store", type=click.Path(path_type=Path), help="folder of packages")
@click.option("--registry", metavar="URI", help="MLflow tracking URI, for models:/ URIs")
@click.option("--top-k", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="one JSON object per image, one a line")
@click.pass_context
def command(
    context: click.Context,
    images: tuple[Path, ...],
    model: str,
    store: Path | None,
    registry: str | None,
    top_k: int,
    as_json: bool,
) -> None:
    """Classify IMAGES through the decoder and runtime that the server uses.

    An image that cannot be read is reported in its place; the exit code is then 1.
    """
    settings = read_settings(store=store, registry=registry)
    place = locate(model, settings.store, settings.registry, settings.cache)
    package = load_package(place)
    variant = candidates(package.manifest, settings.variant, "cpu")[0]
    runtime = load_runtime(package, "cpu", len(os.sched_getaffinity(0)), None, variant)
    rows = [_classify(image, package, runtime, settings, top_k) for image in images]
    if as_json:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    else:
        _print(rows)
    if any("error" in row for row in rows):
        context.exit(ANSWER_IS_NO)


def _classify(
    file: Path, package: ModelPackage, runtime: Runtime, settings: Settings, top_k: int
) -> dict[str, object]:
    try:
        pixels = decode(
            file.read_bytes(),
            package.manifest.input,
            settings.decode_limits,
            scaled=settings.scaled_decode,
        )
    except OSError as error:
        return {"file": str(file), "error": error.strerror or str(error)}
    except BadImageError as error:
        return {"file": str(file), "error": str(error)}
    answers = runtime.run(np.ascontiguousarray(pixels[np.newaxis]))
    top = [
        {"label": package.labels[index], "index": index, "score": round(score, 6)}
        for index, score in zip(
            answers.indices[0].tolist(), answers.scores[0].tolist(), strict=True
        )
    ]
    return {"file": str(file), "top": top[:top_k]}


def _print(rows: list[dict[str, object]]) -> None:
    table = Table("image", "label", "index", "score", box=None)
    for row in rows:
        top = row.get("top")
        if not isinstance(top, list):
            table.add_row(Text(str(row["file"])), Text(str(row["error"]), "red"), "", "")
            continue
        for entry in top:
            table.add_row(
                Text(str(row["file"])),
                Text(entry["label"]),
                str(entry["index"]),
                f"{entry['score']:.4f}",
            )
    print_table(table)
