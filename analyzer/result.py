"""What an analysis found: ``result.json``, of which report, CSVs, charts, gate and MLflow are made.

Every figure that is a rate has its count and its whole beside it, so that whoever compares two can
say how sure that is. Shares are 0 to 1, times in seconds, sizes in bytes.
"""

from __future__ import annotations

from typing import Literal

import pydantic

SCHEMA_VERSION = 1


class Part(pydantic.BaseModel):
    """Base of all parts: unknown fields are errors, and nothing is changed once it is made."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Rate(Part):
    """So many of so many, and the 95 % interval that Wilson's score gives it."""

    count: int
    of: int
    rate: float  # 0 where there was nothing
    low: float
    high: float


class TopK(Part):
    """How often the true class was among the best ``k``."""

    k: int
    hits: Rate


class ClassFigures(Part):
    """One class of the model. ``confused_with`` names what its images were taken for, by count."""

    index: int
    label: str
    support: int  # images of it
    predicted: int  # images said to be it
    precision: Rate
    recall: Rate  # = top-1 of its images
    f1: float
    top5: Rate
    mean_confidence: float | None
    roc_auc: float | None  # one against the rest; None where it has no images, or all are of it
    average_precision: float | None
    confused_with: tuple[tuple[int, int], ...]  # (class index, images), most first, at most 5


class ConfusedPair(Part):
    """Images of ``truth`` taken for ``said``."""

    truth: int
    said: int
    images: int
    share: float  # of the images of ``truth``


class Bin(Part):
    """Images whose best score lies in [low, high)."""

    low: float
    high: float
    images: int
    confidence: float | None  # mean
    accuracy: float | None


class Calibration(Part):
    """Whether scores mean what they say."""

    bins: tuple[Bin, ...]
    ece: float  # expected calibration error
    ece_low: float | None = None  # its 95 % interval
    ece_high: float | None = None
    mce: float  # largest of a bin that has images
    brier: float | None  # of the best class: mean (score - hit)²


class Threshold(Part):
    """Only answers with a best score of ``threshold`` and more are taken."""

    threshold: float
    taken: int
    right: int
    wrong: int
    accuracy: float | None  # of those taken


class Curve(Part):
    """Points of a curve, micro-averaged over all classes, at most 200."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float


class HierarchyScores(Part):
    """How bad mistakes are, by groups of classes; docs/analyzer-metrics.md defines each."""

    levels: tuple[str, ...]  # of groups, fine to coarse, by the names the file gives them
    accuracy_by_level: tuple[float, ...]  # right at least in the group
    standard: float  # 0 to 1
    confidence_aware: float  # 0 to 1
    error_aware: float  # -1 to 1
    hierarchy_aware: float  # -1 to 1


class Accuracy(Part):
    """One model on one dataset."""

    images: int
    answered: int
    judged: int  # answered, and their class is known
    top: tuple[TopK, ...]  # k = 1…5, as far as the model gives
    mean_confidence: float | None  # of all answers
    mean_confidence_hits: float | None
    mean_confidence_misses: float | None
    balanced_accuracy: float | None  # mean recall of the classes that have images
    macro_f1: float | None
    classes: tuple[ClassFigures, ...]
    confusion: tuple[tuple[int, int, int], ...]  # (truth, said, images), where there are any
    confused: tuple[ConfusedPair, ...]  # most images first, at most 50
    calibration: Calibration | None
    thresholds: tuple[Threshold, ...]
    roc: Curve | None
    precision_recall: Curve | None
    hierarchy: HierarchyScores | None
    labelled: int = 0  # by the dataset, with any class
    unknown_class: int = 0  # of these, with one that the model does not have: none is judged


class RobustnessPoint(Part):
    """One augmentation at one intensity: 0 is none, 1 the strongest."""

    augmentation: str
    intensity: float
    images: int
    top1: Rate  # against the truth where there is one, else against the answer to the clean image
    mean_confidence: float | None


class Robustness(Part):
    """Curves of one model on one dataset."""

    against: Literal["truth", "clean answers"]
    clean: Rate  # of the same images, as they are
    points: tuple[RobustnessPoint, ...]
    mean_drop: float  # of top-1, over all augmentations and intensities
    # Its 95 % interval over images; the same ones underlie all points.
    mean_drop_low: float | None = None
    mean_drop_high: float | None = None
    worst: str  # augmentation with the largest drop, over its intensities


class BatchSpeed(Part):
    """Batches of one size on one variant."""

    batch_size: int
    images_per_second: float
    latency_s: float  # of a batch, median
    p99_s: float
    # 95 % intervals; None where nothing bounds it. `analyzer.durations` makes all of them.
    images_per_second_low: float | None = None
    images_per_second_high: float | None = None
    p99_low_s: float | None = None
    p99_high_s: float | None = None  # takes 368 batches
    batches: int = 0  # that were timed


class VariantSpeed(Part):
    """One variant on one device."""

    file: str
    precision: str
    device: str
    threads: int
    file_bytes: int
    memory_bytes: int | None  # that loading it and running the largest batch added
    batches: tuple[BatchSpeed, ...]


class StageCapacity(Part):
    """One stage, by what it took here; images/s of one worker and of all."""

    stage: str
    seconds_per_image: float | None
    workers: int
    capacity: float | None


class Speed(Part):
    """How fast one model is here."""

    machine: str  # what it was measured on
    variants: tuple[VariantSpeed, ...]
    stages: tuple[StageCapacity, ...]
    bottleneck: str | None
    cores_per_device: float | None  # decode cores that feed one device
    note: str  # "feed one of these with 7.4 cores"


class Agreement(Part):
    """Two models on one dataset."""

    first: str
    second: str
    dataset: str
    images: int  # that both answered
    same: Rate
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    mcnemar_p: float | None  # exact two-sided; None without truths
    changed: tuple[tuple[str, int, int, int], ...]  # (image, truth or -1, first, second), ≤ 1,000
    by_class: tuple[tuple[int, int, int], ...]  # (class, right by first, right by second)
    # The same paired: (class, both right, only first, only second, neither).
    pairs_by_class: tuple[tuple[int, int, int, int, int], ...] = ()


class Uncompared(Part):
    """Two models that cannot be compared on a dataset, and why: one line."""

    first: str
    second: str
    dataset: str
    why: str


class Finding(Part):
    """Something about a dataset that the user should know."""

    kind: Literal["broken", "duplicate", "imbalance", "labels", "parity", "empty", "conflict"]
    severity: Literal["info", "warning", "error"]
    text: str  # one line
    images: tuple[str, ...] = ()  # at most 20
    count: int = 0  # of all
    model: str | None = None  # whom it is about; None: the data themselves


class DatasetFacts(Part):
    """One dataset."""

    name: str
    source: str
    digest: str  # sha256 over names, labels and bytes
    images: int
    with_truth: int
    classes: dict[str, int]  # images by the dataset's own names of classes
    findings: tuple[Finding, ...]


class ModelFacts(Part):
    """One model of the report."""

    name: str
    source: str  # as the user named it
    version: str
    variant: str | None  # file; None over the wire
    precision: str | None
    sha256: str | None
    labels: tuple[str, ...]
    input: str  # "224x224 RGB, shortest-side:256, bilinear"
    size_bytes: int | None


class Evaluation(Part):
    """One model on one dataset; parts that were not asked for are None."""

    model: str
    dataset: str
    accuracy: Accuracy
    robustness: Robustness | None = None
    parity: str | None = None  # how the server's pixels compare with the reference; one line
    seconds: float  # that classifying took
    images_per_second: float


class RuleVerdict(Part):
    """One rule of a gate, as it was judged."""

    rule: str
    model: str
    dataset: str | None
    passed: bool
    figure: float | None  # None: it was not measured
    bound: float | None  # of its 95 % interval, that was compared; None: nothing bounds it
    threshold: float
    text: str  # one line for people
    decided: bool = True  # False: neither proven nor refuted; more of the same could tell


class GateResult(Part):
    """A gate's answer."""

    file: str
    champion: str | None
    passed: bool
    verdicts: tuple[RuleVerdict, ...]


class Result(Part):
    """All of it."""

    schema_version: int = SCHEMA_VERSION
    created: str  # ISO 8601, UTC
    command: str
    tools: dict[str, str]
    models: tuple[ModelFacts, ...]
    datasets: tuple[DatasetFacts, ...]
    evaluations: tuple[Evaluation, ...]
    speeds: dict[str, Speed] = {}  # by model
    agreements: tuple[Agreement, ...] = ()
    uncompared: tuple[Uncompared, ...] = ()
    gate: GateResult | None = None
