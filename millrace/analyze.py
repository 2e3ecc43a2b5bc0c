"""``millrace analyze``: measures models on datasets, and says which deserves to be served."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from millrace.analyze_progress import Display
from millrace.cli import ANSWER_IS_NO, CANNOT
from millrace.output import print_table
from model_store.labels import read_labels
from predictor.settings import read_settings

if TYPE_CHECKING:
    from analyzer.result import Accuracy, Rate, Result
    from analyzer.run_analysis import Request

_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--model",
        "models",
        multiple=True,
        required=True,
        help="Name in the store, NAME/VERSION, a path, models:/NAME@ALIAS, or a running endpoint, "
        "http://HOST:PORT/v2/models/NAME; MODEL#int8 is one variant. Repeat it.",
    ),
    click.option(
        "--dataset",
        "datasets",
        multiple=True,
        required=True,
        help="Folder of class folders, CSV with file,label, zip of either, folder of images, or "
        "mlflow:RUN_ID; NAME=… names it in the report. Repeat it.",
    ),
    click.option(
        "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder."
    ),
    click.option("--store", type=click.Path(path_type=Path), help="Folder of packages."),
    click.option(
        "--registry", metavar="URI", help="MLflow tracking URI, for models:/ URIs of --model."
    ),
    click.option(
        "--variant",
        "variants",
        multiple=True,
        help="Precision or file of packages that name none with #; all; repeat it.  "
        "[default: the package's first]",
    ),
    click.option(
        "--labels",
        type=click.Path(path_type=Path),
        help="Labels of endpoints, one per line.  [default: learnt from their answers]",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        help="Where packages run: cpu, cuda:N, …; auto is the first GPU, or the CPU.",
    ),
    click.option(
        "--hierarchy",
        type=click.Path(path_type=Path),
        help="CSV: label, then coarser and coarser groups.",
    ),
    click.option(
        "--gate", type=click.Path(path_type=Path), help="Rules; exit code 1 if one fails."
    ),
    click.option("--champion", help="Model that the others are compared with, as in --model."),
    click.option("--robustness", is_flag=True, help="Also with rain, blur, noise, …: much slower."),
    click.option(
        "--timing-s",
        type=click.FloatRange(min=0, min_open=True),
        default=120.0,
        show_default=True,
        help="Seconds to time each batch size of the gate's p99 rules, at most.",
    ),
    click.option("--no-speed", is_flag=True, help="Leave batches and stages unmeasured."),
    click.option(
        "--history",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Earlier result.json to compare with, besides those of --out. Repeat it.",
    ),
    click.option("--mlflow", is_flag=True, help="Log all of it to an MLflow run."),
    click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON."),
)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class _Refusal(click.ClickException):
    """What cannot be done, in the words of every other command."""

    exit_code = CANNOT

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"millrace: {self.message}", file=file, err=file is None)


@click.command("analyze")
@_with_options
@click.pass_context
def command(context: click.Context, /, as_json: bool, **given: Any) -> None:
    """Measure models on datasets and write a report into --out.

    Accuracy with intervals, calibration, confusion, speed of batches and of the stages, agreement
    between models, and what is odd about the data: report.html, result.json and CSV tables. What
    was classified is kept there, so a run that was interrupted goes on.
    """
    try:
        from analyzer.errors import AnalyzerError
        from analyzer.write_all import write_all  # noqa: F401 (needs all of the extra)
    except ImportError as error:
        raise _Refusal(f"needs {error.name}: install millrace[analyzer]") from error
    # Batches that fail cost their images, whose rows say so; the runtime's trace helps nobody here.
    logging.getLogger("predictor").addHandler(logging.NullHandler())
    logging.getLogger("predictor").propagate = False
    history, to_mlflow = given.pop("history"), given.pop("mlflow")
    try:
        passed = _run(_request(**given), history, to_mlflow=to_mlflow, as_json=as_json)
    except AnalyzerError as error:
        raise _Refusal(str(error)) from error
    if not passed:
        context.exit(ANSWER_IS_NO)


def _request(
    store: Path | None,
    registry: str | None,
    no_speed: bool,
    labels: Path | None,
    **given: Any,
) -> Request:
    from analyzer.run_analysis import Request

    return Request(
        settings=read_settings(store=store, registry=registry),
        labels=read_labels(labels) if labels else (),
        speed=not no_speed,
        **given,
    )


def _run(request: Request, history: tuple[Path, ...], *, to_mlflow: bool, as_json: bool) -> bool:
    from analyzer import mlflow_run
    from analyzer.run_analysis import analyse
    from analyzer.write_all import read_result, write_all

    earlier = [read_result(file) for file in history]
    if to_mlflow:
        mlflow_run.check()
    with Display() as progress:
        found = analyse(request, progress)
        report = write_all(found, request.out, earlier, progress)
    run_id = mlflow_run.log(found.result, request.out) if to_mlflow else None
    if as_json:
        outcome = _as_json(found.result) | {"report": str(report), "mlflow_run": run_id}
        sys.stdout.write(json.dumps(outcome, ensure_ascii=False) + "\n")
    else:
        _print(found.result, report, run_id)
    return found.result.gate is None or found.result.gate.passed


def _as_json(result: Result) -> dict[str, Any]:
    """What a script wants first; the rest is in result.json."""
    return {
        "evaluations": [
            {
                "model": one.model,
                "dataset": one.dataset,
                "images": one.accuracy.images,
                "answered": one.accuracy.answered,
                "judged": one.accuracy.judged,
                "unknown_class": one.accuracy.unknown_class,
                "top": {str(top.k): top.hits.model_dump() for top in one.accuracy.top},
                "ece": one.accuracy.calibration.ece if one.accuracy.calibration else None,
                "images_per_second": one.images_per_second,
            }
            for one in result.evaluations
        ],
        "speeds": {
            name: {"bottleneck": speed.bottleneck, "note": speed.note}
            for name, speed in result.speeds.items()
        },
        "findings": [
            {"dataset": dataset.name} | finding.model_dump()
            for dataset in result.datasets
            for finding in dataset.findings
        ],
        "gate": result.gate and result.gate.model_dump(),
    }


def _print(result: Result, report: Path, run_id: str | None) -> None:
    from analyzer.checks import printable

    table = Table("model", "dataset", "images", "top-1", "top-5", "ECE", "images/s", box=None)
    for one in result.evaluations:
        found = one.accuracy
        by_k = {top.k: top.hits for top in found.top}
        table.add_row(
            Text(printable(one.model)),
            Text(printable(one.dataset)),
            f"{found.answered} of {found.images}" + _unjudged(found),
            _rate(by_k.get(1)),
            _rate(by_k.get(5)),
            f"{found.calibration.ece:.3f}" if found.calibration else "",
            f"{one.images_per_second:.0f}",
        )
    print_table(table)
    for model, speed in result.speeds.items():
        click.echo(printable(f"{model}: {speed.note}"))
    for dataset in result.datasets:
        for finding in dataset.findings:
            click.echo(printable(f"{dataset.name}: {finding.severity}: {finding.text}"))
    if result.gate is not None:
        for verdict in result.gate.verdicts:
            click.echo(printable(f"{'passed' if verdict.passed else 'FAILED'}: {verdict.text}"))
        click.echo(f"gate {'passed' if result.gate.passed else 'FAILED'}: {result.gate.file}")
    if run_id is not None:
        click.echo(f"MLflow run {run_id}")
    click.echo(f"report: {report}")


def _unjudged(found: Accuracy) -> str:
    """What the figures beside it leave out."""
    return f", {found.unknown_class} of unknown class" if found.unknown_class else ""


def _rate(rate: Rate | None) -> str:
    """In percent, with its interval."""
    if rate is None or not rate.of:
        return ""
    return f"{rate.rate:.1%} ({100 * rate.low:.1f} to {100 * rate.high:.1f})"
