"""The pipeline's steps as KFP sees them: shells over ``tasks`` and ``measuring``.

They run in the project's image. KFP takes the source of each function alone into its YAML, and
evaluates neither texts as annotations nor ``list[…]``: so imports are inside, and annotations are
of ``typing``.
"""

# ruff: noqa: UP006, UP035 (see above)
# mypy: disable-error-code="valid-type"
from importlib.metadata import version
from typing import Any, Dict, List, NamedTuple

from kfp import dsl

IMAGE = f"millrace:{version('millrace')}-pipeline"  # as image/build.sh names it


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def pin(
    name: str,
    source: str,
    labels: str,
    parity_images: str,
    packaging: Dict[str, Any],
    datasets: List[str],
    gate: str,
    plan: str,
    champion: str,
    registry: str,
    place: Dict[str, str],
) -> NamedTuple("Pins", [("source", str), ("data", str), ("champion", str), ("replaces", str)]):
    """Finds out what the names mean now, and whether there is all that the run will need."""
    from pipelines import tasks

    model = tasks.Model(name, source, labels, parity_images, packaging, registry)
    pins = tasks.pin(model, datasets, gate, plan, champion, place)
    return (pins.source, pins.data, pins.champion, pins.replaces)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def package(
    name: str,
    source: str,
    labels: str,
    parity_images: str,
    packaging: Dict[str, Any],
    registry: str,
    source_digest: str,
    model: dsl.Output[dsl.Model],
) -> None:
    """Makes a model package: a serving graph, proven to answer as the network does."""
    from pipelines import tasks

    wanted = tasks.Model(name, source, labels, parity_images, packaging, registry)
    model.metadata.update(tasks.package(wanted, model.path), source_digest=source_digest)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def analyze(
    model: dsl.Input[dsl.Model],
    dataset: str,
    champion: str,
    registry: str,
    device: str,
    robustness: bool,
    data_digest: str,
    analysis: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    figures: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Measures the candidate and the champion on one dataset."""
    from pipelines import measuring

    how = measuring.How(registry, device, robustness)
    found = measuring.analyze(model.path, champion, dataset, how, analysis.path, report.path)
    analysis.metadata.update(found.facts, data_digest=data_digest)
    figures.metadata.update(found.figures)
    confusion.log_confusion_matrix(found.classes, found.matrix)
    if found.roc:
        confusion.log_roc_curve(*found.roc)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def gate(
    name: str,
    model: dsl.Input[dsl.Model],
    champion: str,
    datasets: List[str],
    analyses: dsl.Input[List[dsl.Artifact]],
    rules: str,
    registry: str,
    device: str,
    key: str,
    job: str,
    verdict: dsl.Output[dsl.Markdown],
) -> NamedTuple("Answer", [("passed", bool), ("why", str)]):
    """Judges the candidate on all datasets; measures its speed where a rule is about that."""
    from pipelines import measuring

    how, folders = measuring.How(registry, device), [each.path for each in analyses]
    run = measuring.Run(name, registry, key or job)
    answer = measuring.gate(run, model.path, champion, datasets, folders, rules, how, verdict.path)
    return (answer.yes, answer.why)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register(
    name: str,
    model: dsl.Input[dsl.Model],
    registry: str,
    publish_to: str,
    key: str,
    job: str,
    registered: dsl.Output[dsl.Model],
) -> str:
    """Makes the package the next version of the model, and the challenger."""
    from pipelines import tasks

    found = tasks.register(tasks.Run(name, registry, key or job), model.path, publish_to)
    registered.uri = found.uri
    registered.metadata.update(found.facts)
    return found.uri


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def rollout(
    name: str,
    uri: str,
    replaces: str,
    plan: str,
    registry: str,
    place: Dict[str, str],
    key: str,
    job: str,
    history: dsl.Output[dsl.Markdown],
) -> NamedTuple("Answer", [("promoted", bool), ("why", str)]):
    """Gives the version the traffic step by step, or takes it back."""
    from pipelines import tasks

    run = tasks.Run(name, registry, key or job)
    answer = tasks.rollout(run, uri, replaces, plan, place, history.path)
    return (answer.yes, answer.why)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote(name: str, uri: str, registry: str, key: str, job: str) -> None:
    """Sees that the version is the champion now, as its rollout has told the registry."""
    from pipelines import tasks

    tasks.promote(tasks.Run(name, registry, key or job), uri)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def refuse(who: str, why: str) -> None:
    """Fails on purpose: a run that did not promote its model is not to look like one that did."""
    from pipelines import tasks

    tasks.refuse(who, why)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def conclude(
    name: str,
    registry: str,
    place: Dict[str, str],
    key: str,
    job: str,
    status: dsl.PipelineTaskFinalStatus,
    summary: dsl.Output[dsl.Markdown],
) -> None:
    """Records how the run ended, and ends what it has left half done."""
    from pipelines import tasks

    run = tasks.Run(name, registry, key or job)
    tasks.conclude(run, place, status.error_message or "", summary.path)
