"""The step that measures the candidate and the champion on one dataset."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from analyzer import speed
from analyzer.dataset_survey import Progress, survey
from analyzer.local import LocalModel
from analyzer.result import Speed
from analyzer.run_analysis import Analysis, Request, place_of
from analyzer.run_analysis import analyse as run_analysis
from analyzer.run_models import open_models
from analyzer.sources import open_datasets
from analyzer.write_all import write_all
from model_store.package import ModelPackage
from pipelines.steps.candidate import as_candidate
from predictor.settings import read_settings


@dataclass(frozen=True, slots=True)
class How:
    """What an analysis is told beside models and data.

    Attributes:
        registry: tracking URI, where the champion is.
        device: as ``millrace analyze`` has it.
        robustness: whether augmentations are tried.
    """

    registry: str = ""
    device: str = "auto"
    robustness: bool = False


def analyse(
    package: ModelPackage, champion: str, dataset: str, out: Path, how: How, progress: Progress
) -> Analysis:
    """Measure both on a dataset, and write the analyzer's report and tables into ``out``.

    Args:
        package: of the candidate.
        champion: ``models:/NAME/NUMBER``; empty: there is none.
        dataset: as ``millrace analyze`` has it.
        out: a folder; what it keeps of an earlier analysis is gone on from.
        how: all else.
        progress: told how it goes.

    Raises:
        AnalyzerError, ModelStoreError, StartupError: one line that says what to do.
    """
    with as_candidate(package) as candidate:
        request = Request(
            models=(str(candidate.path),),
            datasets=(dataset,),
            out=out,
            settings=read_settings(registry=how.registry or None),
            device=how.device,
            champion=champion or None,
            robustness=how.robustness,
            speed=False,
        )
        found = run_analysis(request, progress)
        write_all(found, out, (), progress)
    return found


def speeds(
    package: ModelPackage,
    champion: str,
    dataset: str,
    p99_sizes: tuple[int, ...],
    how: How,
    progress: Progress,
) -> dict[str, Speed]:
    """How fast both are here, by their names in the report.

    ``p99_sizes`` are those of batches whose 99th percentile is wanted; the rest is as in
    ``analyse``.
    """
    settings = read_settings(registry=how.registry or None)
    here, environment = place_of(how.device, settings)
    os.environ.update(environment)  # before a runtime is imported
    (opened_dataset,) = open_datasets((dataset,))
    seen = survey(opened_dataset, progress)
    with as_candidate(package) as candidate:
        opened = open_models(
            (str(candidate.path),),
            champion or None,
            (),
            settings.store,
            here,
            registry=settings.registry,
            cache=settings.cache,
        )
        models = [model for model in opened.models if isinstance(model, LocalModel)]
        try:
            for model in models:
                speed.time_decoding(model, seen)
            return speed.measure(models, seen, environment, progress, speed.Timing(p99_sizes))
        finally:
            for model in models:
                model.close()


def short_name(dataset: str) -> str:
    """What a dataset is called, without opening it."""
    name, equals, path = dataset.partition("=")
    return name if equals and "/" not in name else Path(path or dataset).name
