"""The files of an analysis besides its report: ``result.json`` and CSV tables."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from analyzer.errors import AnalyzerError
from analyzer.predictions import NO_TRUTH, Predictions
from analyzer.result import Accuracy, Result

RESULT_FILE = "result.json"
# What a spreadsheet computes; numbers, which may have a sign, are none.
_FORMULA = re.compile(r"(?![+-]?[\d.]+\Z)[=+\-@\t\r]")
_UNFIT = re.compile(r"[^\w.#-]+")
SHOWN = 5  # classes of an answer, in the table of predictions


def write_result(result: Result, folder: Path) -> Path:
    """Write ``result.json``, whole or not at all."""
    return _whole(folder / RESULT_FILE, result.model_dump_json(indent=1) + "\n")


def write_tables(
    predictions: Sequence[Predictions], accuracies: Sequence[Accuracy], folder: Path
) -> list[Path]:
    """Write three CSV tables for each model on each dataset: answers, classes, confusion.

    They are called ``predictions-MODEL-DATASET.csv`` and so on, with characters that do not
    belong into a file's name as ``-``; those that would be called alike are numbered.

    Args:
        predictions: of each model on each dataset.
        accuracies: what was reckoned from them, in the same order.
        folder: where to.
    """
    written: list[Path] = []
    for said, found in zip(predictions, accuracies, strict=True):
        suffix = _free(f"{_fit(said.model)}-{_fit(said.dataset)}", folder, written)
        for kind, rows in (
            ("predictions", _prediction_rows(said)),
            ("classes", _class_rows(found, said.labels)),
            ("confusion", _confusion_rows(found, said.labels)),
        ):
            written.append(_table(folder / f"{kind}-{suffix}.csv", rows))
    return written


def _fit(name: str) -> str:
    return _UNFIT.sub("-", name).strip("-.") or "unnamed"


def _free(suffix: str, folder: Path, written: Sequence[Path]) -> str:
    number, own = 1, suffix
    while folder / f"predictions-{own}.csv" in written:
        number += 1
        own = f"{suffix}-{number}"
    return own


def _prediction_rows(said: Predictions) -> Iterable[Sequence[object]]:
    shown = min(SHOWN, said.top_k)
    best = [f"{what}{place}" for place in range(1, shown + 1) for what in ("label", "score")]
    yield ["file", "truth", "right", *best, "error"]
    ranks = said.ranks
    for number, name in enumerate(said.names):
        truth = int(said.truth[number])
        judged = bool(said.judged[number])
        row: list[object] = [name, "" if truth == NO_TRUTH else said.labels[truth]]
        row.append(int(ranks[number] == 0) if judged else "")
        for index, score in zip(
            said.indices[number, :shown].tolist(), said.scores[number, :shown].tolist(), strict=True
        ):
            row += ["", ""] if index < 0 else [said.labels[index], f"{score:.6f}"]
        yield [*row, said.errors[number]]


def _class_rows(found: Accuracy, labels: Sequence[str]) -> Iterable[Sequence[object]]:
    yield [
        "index", "label", "images", "predicted", "precision", "recall", "recall_low",
        "recall_high", "f1", "top5", "mean_confidence", "roc_auc", "average_precision",
        "mostly_taken_for",
    ]  # fmt: skip
    for one in found.classes:
        taken = labels[one.confused_with[0][0]] if one.confused_with else ""
        yield [
            one.index, one.label, one.support, one.predicted, _number(one.precision.rate),
            _number(one.recall.rate), _number(one.recall.low), _number(one.recall.high),
            _number(one.f1), _number(one.top5.rate), _number(one.mean_confidence),
            _number(one.roc_auc), _number(one.average_precision), taken,
        ]  # fmt: skip


def _confusion_rows(found: Accuracy, labels: Sequence[str]) -> Iterable[Sequence[object]]:
    """Only where there are any images: of 1,000 classes most pairs have none."""
    yield ["truth", "said", "images"]
    for truth, said, images in found.confusion:
        yield [labels[truth], labels[said], images]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _no_formula(cell: object) -> object:
    """Names that a spreadsheet would compute get a quote before them, as in the page's export."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _table(file: Path, rows: Iterable[Sequence[object]]) -> Path:
    temporary = file.with_name(f".{file.name}.new")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([_no_formula(cell) for cell in row] for row in rows)
        temporary.replace(file)
    except OSError as error:
        raise AnalyzerError(f"{file}: cannot be written: {error.strerror or error}") from None
    return file


def _whole(file: Path, text: str) -> Path:
    temporary = file.with_name(f".{file.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        raise AnalyzerError(f"{file}: cannot be written: {error.strerror or error}") from None
    return file
