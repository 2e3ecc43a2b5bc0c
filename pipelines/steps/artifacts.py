"""What people see in KFP's pages: a confusion matrix, a curve, summaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analyzer.predictions import Predictions
from analyzer.result import Accuracy, GateResult, Result
from pipelines.steps.candidate import CANDIDATE
from pipelines.steps.conclusion import Conclusion
from rollout.state import State

MOST_CLASSES = 40  # of a confusion matrix: a page can show no more, and KFP's database hold few
OTHERS = "(others)"
MOST_POINTS = 100  # of a curve


@dataclass(frozen=True, slots=True)
class Confusion:
    """Rows are the true classes, columns what the candidate said."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Roc:
    """Of a model with two classes, the second one being the positive one."""

    false_positive_rates: tuple[float, ...]
    true_positive_rates: tuple[float, ...]
    thresholds: tuple[float, ...]

    @property
    def lists(self) -> tuple[list[float], list[float], list[float]]:
        """As KFP takes them."""
        return (
            list(self.false_positive_rates),
            list(self.true_positive_rates),
            list(self.thresholds),
        )


def confusion(accuracy: Accuracy) -> Confusion:
    """What the candidate's images were taken for; of many classes those that it confuses most."""
    chosen = _most_confused(accuracy)
    labels = [accuracy.classes[index].label for index in chosen]
    rest = len(chosen) < len(accuracy.classes)
    size = len(chosen) + rest
    places = {index: place for place, index in enumerate(chosen)}
    matrix = np.zeros((size, size), dtype=np.int64)
    for truth, said, images in accuracy.confusion:
        matrix[places.get(truth, size - 1), places.get(said, size - 1)] += images
    return Confusion(
        labels=(*labels, OTHERS) if rest else tuple(labels),
        matrix=tuple(tuple(int(each) for each in row) for row in matrix),
    )


def _most_confused(accuracy: Accuracy) -> list[int]:
    if len(accuracy.classes) <= MOST_CLASSES:
        return list(range(len(accuracy.classes)))
    mistakes = np.zeros(len(accuracy.classes), dtype=np.int64)
    for truth, said, images in accuracy.confusion:
        if truth != said:
            mistakes[truth] += images
            mistakes[said] += images
    most = np.argsort(-mistakes, kind="stable")[: MOST_CLASSES - 1]
    return sorted(int(index) for index in most)


def roc(said: Predictions) -> Roc | None:
    """The candidate's ROC curve; None unless it has two classes, and images of both."""
    if len(said.labels) != 2 or said.top_k != 2:
        return None
    judged = said.judged
    truth = said.truth[judged] == 1
    if not truth.any() or truth.all():
        return None
    rows = np.arange(int(judged.sum()))
    scores = said.scores[judged][rows, (said.indices[judged] == 1).argmax(axis=1)].astype(float)
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    right = np.cumsum(truth[order])[ends] / truth.sum()
    wrong = np.cumsum(~truth[order])[ends] / (~truth).sum()
    kept = np.unique(np.linspace(0, len(ends) - 1, min(MOST_POINTS, len(ends))).round().astype(int))
    return Roc(
        false_positive_rates=(0.0, *map(float, wrong[kept])),
        true_positive_rates=(0.0, *map(float, right[kept])),
        thresholds=(1.0 + float(scores.max()), *map(float, scores[order][ends][kept])),
    )


def analysed_line(result: Result) -> str:
    """The first class' accuracy of both, in one line."""
    told = []
    for one in result.evaluations:
        top1 = next((top.hits for top in one.accuracy.top if top.k == 1), None)
        if top1 is not None and top1.of:
            told.append(f"{one.model} {top1.rate:.1%} of {top1.of:,}")
    return ", ".join(told)


def gate_page(verdict: GateResult, result: Result) -> str:
    """The gate's answer in Markdown."""
    lines = [f"# The gate says {'yes' if verdict.passed else 'no'}", ""]
    lines += ["| rule | dataset | verdict |", "| --- | --- | --- |"]
    lines += [
        f"| {each.rule} | {each.dataset or ''} | {_mark(each.passed)} {_cell(each.text)} |"
        for each in verdict.verdicts
    ]
    lines += ["", f"Champion: {verdict.champion or 'none yet'}. Models:", ""]
    lines += [f"- {model.name}: {_cell(model.source)}" for model in result.models]
    return "\n".join(lines) + "\n"


def first_no(verdict: GateResult) -> str:
    """The first rule that did not pass, as it was judged; empty if all did."""
    return next((each.text for each in verdict.verdicts if not each.passed), "")


def rollout_page(state: State) -> str:
    """How the rollout went, in Markdown."""
    name = f"{state.candidate.name}/{state.candidate.version}"
    ended = state.outcome or f"left in {state.where}"
    lines = [f"# Rollout of {name}: {ended}", ""]
    if state.why:
        lines += [state.why, ""]
    lines += ["| seconds | what |", "| ---: | --- |"]
    lines += [
        f"| {event.at - state.started_at:.0f} | {_cell(event.text)} |" for event in state.events
    ]
    return "\n".join(lines) + "\n"


def conclusion_page(key: str, found: Conclusion) -> str:
    """How a run of the pipeline ended, in Markdown."""
    return (
        f"# {found.outcome}\n\n{found.why}\n\n"
        f"- run: {key}\n- version: {found.version or 'none was registered'}\n"
        f"- MLflow run: {found.run_id}\n"
    )


def candidate_number(result: Result) -> int:
    """The candidate's place among the evaluations of one dataset."""
    return next(
        number
        for number, one in enumerate(result.evaluations)
        if one.model.partition("/")[0] == CANDIDATE
    )


def _mark(passed: bool) -> str:
    return "✔" if passed else "✘"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
