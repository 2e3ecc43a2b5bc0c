"""The whole of an analysis: models on datasets, what is reckoned from that, and what is written."""

from __future__ import annotations

import datetime
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from analyzer import checks, checks_alike, checks_parity, speed
from analyzer.accuracy import accuracy
from analyzer.agreement import agreement
from analyzer.dataset_survey import KEPT_BYTES, Progress, Survey, survey
from analyzer.endpoint import EndpointModel
from analyzer.errors import AgreementError, AnalyzerError
from analyzer.gate import judge, p99_sizes
from analyzer.gate_file import read_gate
from analyzer.hierarchy import Hierarchy, read_hierarchy
from analyzer.local import LocalModel, Place
from analyzer.predictions import NO_TRUTH, Predictions
from analyzer.result import (
    Agreement,
    DatasetFacts,
    Evaluation,
    Finding,
    Result,
    Robustness,
    Speed,
    Uncompared,
)
from analyzer.robustness import Keeping, Plan, robustness
from analyzer.run import Outcome, run
from analyzer.run_checks import check_gate
from analyzer.run_model import Model
from analyzer.run_models import Opened, open_models
from analyzer.sources import open_datasets
from analyzer.speed import P99_TIMING_S, Timing
from predictor.machine import look
from predictor.placement import parse_devices, place
from predictor.settings import Settings

KEPT_FOLDER = "predictions"
MOST_PAIRED = 4  # models that are compared each with each; of more, all with the first one
TOOLS = ("millrace", "numpy", "onnxruntime", "torch", "pillow")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be analysed, as the user put it.

    Attributes:
        models, datasets: as ``run_models`` and ``sources`` understand them, one at least of each.
        out: folder of all that is written.
        settings: the server's: where packages are, and how it decodes.
        variants: of packages that name none.
        labels: of endpoints, by class index.
        device: as the server's ``devices`` has it; ``auto``.
        champion: a model that others are compared with.
        hierarchy, gate: files.
        speed, robustness: whether to measure them.
        timing_s: for each size of batches whose 99th percentile the gate asks for, at most.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    out: Path
    settings: Settings
    variants: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    device: str = "auto"
    champion: str | None = None
    hierarchy: Path | None = None
    gate: Path | None = None
    speed: bool = True
    robustness: bool = False
    timing_s: float = P99_TIMING_S


@dataclass(frozen=True, slots=True)
class Analysis:
    """What came of it: the result, and what it was reckoned from."""

    result: Result
    predictions: tuple[Predictions, ...]
    surveys: tuple[Survey, ...]


@dataclass(slots=True)
class _Found:
    """What is known so far."""

    facts: list[DatasetFacts] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    predictions: list[Predictions] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)
    uncompared: list[Uncompared] = field(default_factory=list)
    pods: dict[str, Speed] = field(default_factory=dict)
    surveys: list[Survey] = field(default_factory=list)


def analyse(request: Request, progress: Progress) -> Analysis:
    """Do all that was asked for; nothing but kept predictions is written.

    Raises:
        AnalyzerError, ModelStoreError, StartupError: one line that says what to do.
    """
    here, environment = place_of(request.device, request.settings)
    os.environ.update(environment)  # before a runtime is imported
    gate = read_gate(request.gate) if request.gate else None
    timing = Timing(p99_sizes(gate) if gate else (), request.timing_s)
    datasets = open_datasets(request.datasets)
    opened = open_models(
        request.models,
        request.champion,
        request.variants,
        request.settings.store,
        here,
        request.labels,
        registry=request.settings.registry,
        cache=request.settings.cache,
    )
    found = _Found()
    try:
        for model in opened.models:
            _groups(request, model)  # what is wrong with them is said before anything runs
        if gate is not None:
            models = [model.name for model in opened.models]
            check_gate(gate, models, opened.champion, [dataset.name for dataset in datasets])
        for dataset in datasets:
            found.surveys.append(survey(dataset, progress, KEPT_BYTES // len(datasets)))
            _on_dataset(opened, found.surveys[-1], request, found, progress)
        speeds = found.pods
        if request.speed:
            ours = [model for model in opened.models if isinstance(model, LocalModel)]
            speeds = speeds | _speeds(ours, found.surveys[0], environment, progress, timing)
        result = _result(opened, found, speeds)
    finally:
        for model in opened.models:
            model.close()
    if gate is not None:
        judged = judge(gate, result, opened.champion)
        result = result.model_copy(update={"gate": judged})
    return Analysis(result, tuple(found.predictions), tuple(found.surveys))


def place_of(device: str, settings: Settings) -> tuple[Place, dict[str, str]]:
    """Where models run, and what the environment must say for it.

    Raises:
        StartupError: there is no such device.
    """
    machine = look()
    devices = parse_devices((device,), machine, os.environ)
    (placed,) = place(devices[:1], 1, machine, os.environ)
    decoding = settings.decode_limits, settings.scaled_decode
    return Place(placed.kind, machine.usable, *decoding), placed.environment


def _speeds(
    models: Sequence[LocalModel],
    seen: Survey,
    environment: dict[str, str],
    progress: Progress,
    timing: Timing,
) -> dict[str, Speed]:
    """Speeds; where they cannot be measured that is said, and all that is known stays."""
    try:
        return speed.measure(models, seen, environment, progress, timing)
    except AnalyzerError as error:
        why = f"its speed was not measured: {error}"
        return {model.name: _unmeasured(why) for model in models}


def _unmeasured(why: str) -> Speed:
    return Speed(
        machine="", variants=(), stages=(), bottleneck=None, cores_per_device=None, note=why
    )


def _on_dataset(
    opened: Opened, seen: Survey, request: Request, found: _Found, progress: Progress
) -> None:
    outcomes: list[Outcome] = []
    findings: list[Finding] = []
    for model in opened.models:
        outcome = run(model, seen, request.out / KEPT_FOLDER, progress)
        outcomes.append(outcome)
        evaluation, noticed = _evaluation(model, seen, outcome, request, progress)
        findings += noticed
        found.evaluations.append(evaluation)
        found.predictions.append(outcome.predictions)
        if isinstance(model, LocalModel):
            model.close()  # several of them at once would take the memory of all
        if isinstance(model, EndpointModel):
            said = speed.of_pod(model.stages())
            if said is not None:
                found.pods[model.name] = said
    compared, uncompared = _agreements([each.predictions for each in outcomes], opened)
    found.agreements += compared
    found.uncompared += uncompared
    findings += [
        Finding(kind="labels", severity="warning", text=one.why, model=one.second)
        for one in uncompared
    ]
    found.facts.append(_dataset_facts(seen, outcomes, findings, progress))


def _evaluation(
    model: Model, seen: Survey, outcome: Outcome, request: Request, progress: Progress
) -> tuple[Evaluation, list[Finding]]:
    said = outcome.predictions
    findings = [*outcome.truth.findings]
    findings += checks.empty_classes(said.labels, said.truth, model.name)
    compared = None
    if isinstance(model, LocalModel):
        parity = checks_parity.parity(model, seen)
        findings += checks_parity.finding(model, parity)
        compared = str(parity)
        speed.time_decoding(model, seen)
    return (
        Evaluation(
            model=model.name,
            dataset=said.dataset,
            accuracy=accuracy(said, _groups(request, model)),
            robustness=_robustness(model, seen, said, request, progress),
            parity=compared,
            seconds=outcome.seconds,
            images_per_second=outcome.images_per_second,
        ),
        [one.model_copy(update={"model": model.name}) for one in findings],
    )


def _robustness(
    model: Model, seen: Survey, said: Predictions, request: Request, progress: Progress
) -> Robustness | None:
    """What augmentations cost; None where that was not asked, or nothing can be classified."""
    if not request.robustness or not said.answered.any():
        return None
    return robustness(
        model.classify,
        said.names,
        seen.read,
        said.truth,
        progress,
        Plan(limits=request.settings.decode_limits),
        Keeping(request.out / KEPT_FOLDER / "robustness", f"{model.identity} {seen.digest}"),
    )


def _groups(request: Request, model: Model) -> Hierarchy | None:
    """Groups of a model's classes, as far as those of an endpoint are known; None without any."""
    if request.hierarchy is None:
        return None
    nameless = model.nameless if isinstance(model, EndpointModel) else ()
    return read_hierarchy(request.hierarchy, model.labels, nameless)


def _dataset_facts(
    seen: Survey, outcomes: Sequence[Outcome], of_models: Sequence[Finding], progress: Progress
) -> DatasetFacts:
    dataset = seen.dataset
    errors = list(seen.errors)
    for outcome in outcomes:  # what one of them could not take
        errors = [
            known or new for known, new in zip(errors, outcome.predictions.errors, strict=True)
        ]
    findings = [
        *checks.broken(dataset, errors),
        *checks.exact_duplicates(seen),
        *checks_alike.near_duplicates(seen, progress),
        *checks.imbalance(dataset),
        *of_models,
    ]
    with_truth = max(int((each.predictions.truth != NO_TRUTH).sum()) for each in outcomes)
    return DatasetFacts(
        name=dataset.name,
        source=dataset.source,
        digest=seen.digest,
        images=len(dataset.items),
        with_truth=with_truth,
        classes=checks.class_counts(dataset),
        findings=tuple(
            one.model_copy(update={"text": checks.printable(one.text)}) for one in findings
        ),
    )


def _agreements(
    said: Sequence[Predictions], opened: Opened
) -> tuple[list[Agreement], list[Uncompared]]:
    found, not_found = [], []
    for first, second in pairs([each.model for each in said], opened.champion):
        try:
            found.append(agreement(said[first], said[second]))
        except AgreementError as error:
            one, other = said[first], said[second]
            not_found.append(
                Uncompared(first=one.model, second=other.model, dataset=one.dataset, why=str(error))
            )
    return found, not_found


def pairs(models: Sequence[str], champion: str | None) -> list[tuple[int, int]]:
    """Which models are compared: all others with the champion; without one, each with each."""
    places = range(len(models))
    if champion is not None:
        first = models.index(champion)
        return [(first, other) for other in places if other != first]
    if len(models) > MOST_PAIRED:
        return [(0, other) for other in places[1:]]
    return [(one, other) for one in places for other in places[one + 1 :]]


def _result(opened: Opened, found: _Found, speeds: Mapping[str, Speed]) -> Result:
    now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC)
    return Result(
        created=now.isoformat(timespec="seconds"),
        command=shlex.join(["millrace", *sys.argv[1:]]),
        tools=_tools(),
        models=tuple(model.facts() for model in opened.models),
        datasets=tuple(found.facts),
        evaluations=tuple(found.evaluations),
        speeds=dict(speeds),
        agreements=tuple(found.agreements),
        uncompared=tuple(found.uncompared),
    )


def _tools() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for tool in TOOLS:
        try:
            found[tool] = metadata.version(tool)
        except metadata.PackageNotFoundError:
            continue
    return found
