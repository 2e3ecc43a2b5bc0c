"""``python -m benchmarks``, or ``make bench``: Millrace, the bare loop, stock KServe compared."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import click
from rich.console import Console

from benchmarks import options, report
from benchmarks.campaign import Campaign, Plan
from benchmarks.errors import BenchmarkError
from benchmarks.load import require_tools
from benchmarks.models import MODELS, PHOTOS, package
from benchmarks.report import ModelResult
from examples.server import ServerError

FOLDER = Path("var/bench")
QUICK = Plan(rounds=1, seconds=3, choosing_seconds=1)

progress = Console(stderr=True, highlight=False, soft_wrap=True)


@click.command()
@click.option("--quick", is_flag=True, help="One short round: shows that it works, not how fast.")
@click.option(
    "--models",
    default=",".join(MODELS),
    show_default=True,
    help="Which to measure, separated by commas.",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=8, show_default=True, type=click.IntRange(2), help="Per cell.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Every measurement.")
@options.write
@options.assets
def main(
    *,
    quick: bool,
    models: str,
    rounds: int,
    seconds: int,
    json_file: Path | None,
    write: bool,
    assets: Path,
) -> None:
    """Compare Millrace with the bare loop and with stock KServe, and print Markdown."""
    plan = QUICK if quick else Plan(rounds, seconds, choosing_seconds=3)
    try:
        results = measure(models.split(","), plan, assets)
    except (BenchmarkError, ServerError) as error:
        raise click.ClickException(str(error)) from error
    report.SECTION.publish(report.markdown(results, plan.rounds, plan.seconds), write=write)
    if json_file:
        text = json.dumps([dataclasses.asdict(result) for result in results], indent=1)
        json_file.write_text(text + "\n", encoding="utf-8")


def measure(names: list[str], plan: Plan, assets: Path) -> list[ModelResult]:
    """Package and measure each model in turn."""
    require_tools()
    if unknown := [name for name in names if name not in MODELS]:
        raise BenchmarkError(f"no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    if not assets.is_dir():
        raise BenchmarkError(f"no assets in {assets}: set MILLRACE_TEST_ASSETS to their folder")
    shutil.rmtree(FOLDER, ignore_errors=True)
    return [_measure_one(name, plan, assets) for name in names]


def _measure_one(name: str, plan: Plan, assets: Path) -> ModelResult:
    model, folder = MODELS[name], FOLDER / name
    progress.rule(name)
    photos = model.photos(assets, folder / "photos")
    if len(photos) != PHOTOS:
        raise BenchmarkError(f"{len(photos)} photos for {name} in {assets}, not {PHOTOS}")
    store = FOLDER / "store"
    packaged = package(model, assets, store)
    network = assets / model.source
    return Campaign(model, packaged, network, photos, folder, store, plan, progress.print).run()


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
