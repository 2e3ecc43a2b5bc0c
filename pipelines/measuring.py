"""The pipeline's tasks that measure, apart from others since they import half a laboratory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analyzer.mlflow_run import fit, metrics
from pipelines.record import OUTCOME_TAG, REFUSED, WHY_TAG
from pipelines.steps import artifacts
from pipelines.steps.analysis import How, analyse, short_name
from pipelines.steps.gating import decide
from pipelines.steps.packaging import package_in
from pipelines.steps.telling import step
from pipelines.tasks import Answer, Run

__all__ = ["Analysed", "How", "Run", "analyze", "gate"]

REPORT_FILE = "report.html"


@dataclass(frozen=True, slots=True)
class Analysed:
    """What is shown of an analysis beside its files.

    Attributes:
        figures: by name.
        classes, matrix: of the candidate's confusion.
        roc: rates of false and true positives and thresholds; None unless there are two classes.
        facts: in a few words.
    """

    figures: dict[str, float]
    classes: list[str]
    matrix: list[list[int]]
    roc: tuple[list[float], list[float], list[float]] | None
    facts: dict[str, str]


def analyze(store: str, champion: str, dataset: str, how: How, out: str, page: str) -> Analysed:
    """Measure candidate and champion on a dataset; the report is in ``out``, and as ``page``."""
    with step("analyze", short_name(dataset)) as telling:
        found = analyse(
            package_in(Path(store)), champion, dataset, Path(out), how, telling.progress
        )
        shutil.copyfile(Path(out) / REPORT_FILE, page)
        telling.result = artifacts.analysed_line(found.result)
        number = artifacts.candidate_number(found.result)
        confusion = artifacts.confusion(found.result.evaluations[number].accuracy)
        roc = artifacts.roc(found.predictions[number])
        return Analysed(
            figures=dict(metrics(found.result)),
            classes=list(confusion.labels),
            matrix=[list(row) for row in confusion.matrix],
            roc=None if roc is None else roc.lists,
            facts={"about": short_name(dataset), "said": telling.result},
        )


def gate(
    run: Run,
    store: str,
    champion: str,
    datasets: Sequence[str],
    analyses: Sequence[str],
    rules: str,
    how: How,
    page: str,
) -> Answer:
    """Judge the candidate; ``page`` says by rule what came of it, as does MLflow's run."""
    with step("gate") as telling:
        folders = [Path(each) for each in analyses]
        candidate = package_in(Path(store))
        found = decide(folders, candidate, champion, datasets, rules, how, telling.progress)
        for verdict in found.verdict.verdicts:
            telling.say(f"{'passed' if verdict.passed else 'FAILED'}: {verdict.text}")
        text = artifacts.gate_page(found.verdict, found.result)
        Path(page).write_text(text, encoding="utf-8")
        record = run.record
        record.step("analyze", artifacts.analysed_line(found.result))
        record.metrics(metrics(found.result))
        record.text(text, "gate.md")
        for folder, dataset in zip(folders, found.result.datasets, strict=True):
            record.file(folder / REPORT_FILE, f"analysis/{fit(dataset.name)}")
        answer = Answer(found.verdict.passed, artifacts.first_no(found.verdict))
        telling.result = "yes" if answer.yes else f"no: {answer.why}"
        record.step("gate", telling.result)
        if not answer.yes:
            record.tag({OUTCOME_TAG: REFUSED, WHY_TAG: answer.why})
    return answer
