"""All files of an analysis: the report, its charts, tables, the result, and earlier results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydantic

from analyzer import robustness_pictures
from analyzer.dataset_survey import Progress, Survey
from analyzer.errors import AnalyzerError, BrokenImageError
from analyzer.report import Pictures, write_charts, write_report
from analyzer.result import Result
from analyzer.robustness import INTENSITIES
from analyzer.robustness_sheet import contact_sheet
from analyzer.run_analysis import Analysis
from analyzer.write import RESULT_FILE, write_result, write_tables
from analyzer.write_stale import remove_stale
from predictor.decode import DEFAULT_LIMITS

HISTORY_FOLDER, CHARTS_FOLDER = "history", "charts"
SHEET_FILE = "augmentations.png"
MOST_EARLIER = 50


def write_all(found: Analysis, folder: Path, history: Sequence[Result], progress: Progress) -> Path:
    """Write all of it and say where the report is.

    A result that lies there already moves to ``history/``, and is compared with in the report.

    Args:
        found: what came of the analysis.
        folder: of this and earlier analyses of the same things.
        history: other results to compare with.
        progress: told how it goes.

    Raises:
        AnalyzerError: the folder cannot be written, or what charts are made with is not here.
    """
    earlier = list(history)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _keep_earlier(folder)
        kept = sorted((folder / HISTORY_FOLDER).glob("*.json"))[-MOST_EARLIER:]
    except OSError as error:
        raise AnalyzerError(f"{folder}: cannot be written: {error.strerror or error}") from None
    for file in kept:
        try:
            earlier.append(read_result(file))
        except AnalyzerError:
            continue  # of another version of this schema
    earlier.sort(key=lambda result: result.created)
    accuracies = [each.accuracy for each in found.result.evaluations]
    written = write_tables(found.predictions, accuracies, folder)
    write_result(found.result, folder)
    written += write_charts(found.result, folder / CHARTS_FOLDER)
    written += _write_sheet(found, folder / CHARTS_FOLDER / SHEET_FILE)
    remove_stale(written, folder)
    return write_report(
        found.result,
        found.predictions,
        folder,
        pictures={seen.dataset.name: _pictures(seen) for seen in found.surveys},
        history=earlier,
        progress=progress,
    )


def read_result(file: Path) -> Result:
    """A result that was written earlier.

    Raises:
        AnalyzerError: it is none.
    """
    try:
        return Result.model_validate_json(file.read_bytes())
    except OSError as error:
        raise AnalyzerError(f"{file}: cannot be read: {error.strerror or error}") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise AnalyzerError(
            f"{file}: is no result of this version: {where}: {first['msg']}"
        ) from None


def _keep_earlier(folder: Path) -> None:
    file = folder / RESULT_FILE
    if not file.exists():
        return
    try:
        name = read_result(file).created.replace(":", "-")
    except AnalyzerError:
        return  # overwritten: nothing here can read it
    (folder / HISTORY_FOLDER).mkdir(exist_ok=True)
    file.replace(folder / HISTORY_FOLDER / f"{name}.json")


def _write_sheet(found: Analysis, file: Path) -> list[Path]:
    """Show on one image what augmentations do, if they were asked for."""
    for evaluation, said in zip(found.result.evaluations, found.predictions, strict=True):
        if evaluation.robustness is None:
            continue
        (seen,) = (one for one in found.surveys if one.dataset.name == said.dataset)
        number = int(said.answered.argmax())
        picture = robustness_pictures.Pictures(seen.read, DEFAULT_LIMITS).picture(number)
        file.write_bytes(contact_sheet(picture, said.names[number], INTENSITIES))
        return [file]
    return []


def _pictures(seen: Survey) -> Pictures:
    """How the report gets at a dataset's images, by their names."""
    numbers = {item.name: number for number, item in enumerate(seen.dataset.items)}

    def read(name: str) -> bytes | None:
        try:
            return seen.read(numbers[name])
        except (BrokenImageError, KeyError):
            return None

    return Pictures(read, seen.dataset.folder)
