"""What of a result the page has, and which sections it therefore has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analyzer.result import ClassFigures, Evaluation, Rate, Result

# What runs are not compared by; it would be most of an earlier result's size.
HEAVY = {
    "classes",
    "confusion",
    "confused",
    "calibration",
    "thresholds",
    "roc",
    "precision_recall",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its id, which the scripts fill, its heading and a sentence below it."""

    id: str
    title: str
    lead: str


SUMMARY = Section("summary", "Summary", "")
IMAGES = Section(
    "images", "Images", "Every image, and what was said of it. Enter opens the one that is chosen."
)
ABOUT = Section("about", "About this report", "")


def for_page(result: Result) -> dict[str, Any]:
    """A result for its own page: all of it, with the classes as columns."""
    whole = result.model_dump(mode="json")
    for evaluation, dumped in zip(result.evaluations, whole["evaluations"], strict=True):
        dumped["accuracy"]["classes"] = _columns(evaluation.accuracy.classes)
    return whole


def brief(result: Result) -> dict[str, Any]:
    """A result for comparing: its figures without classes, curves and lists of images."""
    short = result.model_dump(mode="json", exclude={"agreements": True})
    for evaluation in short["evaluations"]:
        accuracy = evaluation["accuracy"]
        ece = (accuracy["calibration"] or {}).get("ece")
        evaluation["accuracy"] = {k: v for k, v in accuracy.items() if k not in HEAVY}
        evaluation["accuracy"]["calibration"] = None if ece is None else {"ece": ece}
        if evaluation["robustness"]:
            evaluation["robustness"]["points"] = []
    for model in short["models"]:
        model["labels"] = []
    for dataset in short["datasets"]:
        dataset["classes"], dataset["findings"] = {}, []
    return short


def _columns(classes: tuple[ClassFigures, ...]) -> dict[str, list[Any]]:
    return {
        field: [_cell(getattr(each, field)) for each in classes]
        for field in ClassFigures.model_fields
    }


def _cell(value: Any) -> Any:
    if isinstance(value, Rate):
        return [value.count, value.of, value.rate, value.low, value.high]
    return value


def sections(result: Result, images: bool, history: bool) -> list[Section]:
    """The sections that there is something for, in the page's order.

    Args:
        result: what the page is of.
        images: it has rows of images.
        history: it has earlier results to compare with.
    """
    found = [SUMMARY]
    if result.evaluations:
        found += _of_accuracy(result.evaluations)
    if any(evaluation.robustness for evaluation in result.evaluations):
        lead = "Share that stays right as images get worse: 0 is as they are, 1 the strongest."
        found.append(Section("robustness", "Robustness", lead))
    if result.speeds:
        lead = "What each variant does here, and which stage of serving would limit it."
        found.append(Section("speed", "Speed", lead))
    if result.agreements:
        lead = "Where two models differ, who is right, and whether that could be luck."
        found.append(Section("agreement", "Agreement", lead))
    if images:
        found.append(IMAGES)
    lead = (
        "Figures of the runs that are chosen. A change counts where the 95 % intervals are apart."
        if history
        else "This is the first run here. Add another one's result.json to compare them."
    )
    return [*found, Section("history", "Runs", lead), ABOUT]


def _of_accuracy(evaluations: tuple[Evaluation, ...]) -> list[Section]:
    judged = [each.accuracy for each in evaluations if each.accuracy.judged]
    found = []
    if judged:
        lead = "How often the true class was among the best k; whiskers are 95 % intervals."
        found.append(Section("accuracy", "Accuracy", lead))
    if any(each.confusion for each in judged):
        lead = "What was taken for what. Scroll or use + and - to zoom, drag or use arrows to move."
        found.append(Section("confusion", "Confusion", lead))
    if any(each.classes for each in judged):
        lead = "Every class of the model; a row leads to its images."
        found.append(Section("classes", "Classes", lead))
    if any(each.calibration for each in judged):
        lead = "Whether a score of 0.8 means right eight times of ten."
        found.append(Section("calibration", "Calibration", lead))
    if any(each.roc or each.precision_recall for each in judged):
        lead = "All classes against the rest, micro-averaged."
        found.append(Section("curves", "ROC and precision-recall", lead))
    if any(each.accuracy.thresholds and each.accuracy.answered for each in evaluations):
        lead = "If only answers with at least this score are taken: how many, and how many right."
        found.append(Section("thresholds", "Thresholds", lead))
    if any(each.hierarchy for each in judged):
        lead = "Scores that forgive mistakes within a group of classes."
        found.append(Section("hierarchy", "Hierarchy", lead))
    return found
