"""An analysis as an MLflow run: parameters, figures and files."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from analyzer.errors import AnalyzerError
from analyzer.result import Result
from analyzer.write_all import CHARTS_FOLDER

_UNFIT = re.compile(r"[^\w ./:-]+")  # what MLflow takes no metric's name with
MOST_CHARACTERS = 500  # of a parameter


def check() -> None:
    """See that MLflow is here, before anything is measured.

    Raises:
        AnalyzerError: it is not installed.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise AnalyzerError("--mlflow needs MLflow: install millrace[registry]")


def log(result: Result, files: Path) -> str:
    """Log to the run that the environment names, or to a new one.

    Tracking server, experiment and run are MLflow's own variables: ``MLFLOW_TRACKING_URI``,
    ``MLFLOW_EXPERIMENT_NAME``, ``MLFLOW_RUN_ID``.

    Args:
        result: of the analysis.
        files: its folder; what lies in it is logged, and the charts.

    Returns:
        The run's id.

    Raises:
        AnalyzerError: MLflow refuses.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        with mlflow.start_run() as run:
            mlflow.set_tags({"millrace": "analyze"})
            mlflow.log_params(dict(_parameters(result)))
            mlflow.log_metrics(dict(metrics(result)))
            for file in sorted(files.iterdir()):
                if file.is_file() and not file.name.startswith("."):
                    mlflow.log_artifact(str(file))
            if (files / CHARTS_FOLDER).is_dir():
                mlflow.log_artifacts(str(files / CHARTS_FOLDER), CHARTS_FOLDER)
            return str(run.info.run_id)
    except (MlflowException, OSError) as error:
        raise AnalyzerError(f"MLflow: {str(error).splitlines()[0]}") from None


def metrics(result: Result) -> Iterator[tuple[str, float]]:
    """Every figure worth comparing between runs, by ``MODEL/DATASET/figure``."""
    for one in result.evaluations:
        found = one.accuracy
        figures: dict[str, float | None] = {
            f"top{top.k}": top.hits.rate for top in found.top if found.judged
        }
        figures |= {
            "balanced_accuracy": found.balanced_accuracy,
            "macro_f1": found.macro_f1,
            "mean_confidence": found.mean_confidence,
            "ece": found.calibration.ece if found.calibration else None,
            "robustness_drop": one.robustness.mean_drop if one.robustness else None,
            "images_per_second": one.images_per_second,
        }
        for name, figure in figures.items():
            if figure is not None:
                yield fit(f"{one.model}/{one.dataset}/{name}"), figure
    for model, speed in result.speeds.items():
        for variant in speed.variants:
            for batch in variant.batches:
                where = fit(f"{model}/{variant.device}/batch{batch.batch_size}")
                yield f"{where}/images_per_second", batch.images_per_second
                yield f"{where}/p99_s", batch.p99_s
    if result.gate is not None:
        yield "gate_passed", float(result.gate.passed)


def _parameters(result: Result) -> Iterator[tuple[str, str]]:
    for number, model in enumerate(result.models):
        text = f"{model.name} version {model.version} sha256 {model.sha256}"
        yield f"model{number}", text[:MOST_CHARACTERS]
    for number, dataset in enumerate(result.datasets):
        text = f"{dataset.name} digest {dataset.digest}, {dataset.images} images"
        yield f"dataset{number}", text[:MOST_CHARACTERS]


def fit(name: str) -> str:
    """A name that MLflow takes: ``#`` and the like become ``_``."""
    return _UNFIT.sub("_", name)
