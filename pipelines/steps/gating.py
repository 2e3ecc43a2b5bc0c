"""The step that decides: analyses of all datasets together, judged by ``gate.yaml``."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from analyzer.dataset_survey import Progress
from analyzer.gate import judge, p99_sizes
from analyzer.gate_file import Gate
from analyzer.result import GateResult, Result
from analyzer.run_checks import check_gate
from analyzer.write import RESULT_FILE
from analyzer.write_all import read_result
from model_store.package import ModelPackage
from pipelines.errors import PipelineError
from pipelines.steps.analysis import How, speeds
from pipelines.steps.candidate import CANDIDATE
from pipelines.steps.gate_text import gate_of


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer, and what it was found from."""

    verdict: GateResult
    result: Result


def decide(
    analyses: Sequence[Path],
    package: ModelPackage,
    champion: str,
    datasets: Sequence[str],
    gate: str,
    how: How,
    progress: Progress,
) -> Decision:
    """Judge the candidate on all datasets; its speed is measured here, where a rule asks for it.

    It is measured here since analyses run side by side and would measure each other.

    Args:
        analyses: folders that ``analysis.analyse`` wrote, one for each dataset, in their order.
        package: of the candidate.
        champion: as ``analysis.analyse`` has it.
        datasets: as they were analysed.
        gate: text of a ``gate.yaml``; empty for ``DEFAULT_GATE``.
        how: they were analysed.
        progress: told how it goes.

    Raises:
        GateError: it cannot be read, or asks for what is not there.
        PipelineError: the analyses are not of the same models.
    """
    result = merged([read_result(folder / RESULT_FILE) for folder in analyses])
    with tempfile.TemporaryDirectory(prefix="millrace-gate-") as work:
        rules = gate_of(gate, Path(work))
        name = name_of(champion, result)
        check_gate(
            rules,
            [model.name for model in result.models],
            name,
            [dataset.name for dataset in result.datasets],
        )
        if asks_speed(rules):
            sizes = p99_sizes(rules)
            timed = speeds(package, champion, datasets[0], sizes, how, progress)
            result = result.model_copy(update={"speeds": timed})
    verdict = judge(rules, result, name)
    return Decision(verdict, result.model_copy(update={"gate": verdict}))


def merged(results: Sequence[Result]) -> Result:
    """One result of analyses of the same models on different datasets.

    Raises:
        PipelineError: they are not that.
    """
    if not results:
        raise PipelineError("the gate has no analysis to judge")
    first = results[0]
    if any(_models(one) != _models(first) for one in results):
        raise PipelineError("the analyses are not of the same models: run them again")
    return first.model_copy(
        update={
            "datasets": tuple(chain.from_iterable(one.datasets for one in results)),
            "evaluations": tuple(chain.from_iterable(one.evaluations for one in results)),
            "agreements": tuple(chain.from_iterable(one.agreements for one in results)),
            "uncompared": tuple(chain.from_iterable(one.uncompared for one in results)),
        }
    )


def name_of(champion: str, result: Result) -> str | None:
    """What the result calls the champion; None where there was none.

    Raises:
        PipelineError: it was not analysed.
    """
    if not champion:
        return None
    for model in result.models:
        if model.source == champion:
            return model.name
    raise PipelineError(
        f"{champion} was not analysed beside the {CANDIDATE}: run the analyses again"
    )


def asks_speed(gate: Gate) -> bool:
    """Whether a rule is about how long batches take."""
    return any(
        bool(rules.p99 or rules.throughput) for rules in (gate.rules.absolute, gate.rules.relative)
    )


def _models(result: Result) -> list[tuple[str, str | None]]:
    return [(model.name, model.sha256) for model in result.models]
