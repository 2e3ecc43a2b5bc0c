"""Answers of models that do not exist, drawn with a seed, and the result that they make.

``python -m tests.analyzer.synthetic FOLDER`` writes a report of them, to look at.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from analyzer.accuracy import accuracy
from analyzer.agreement import agreement
from analyzer.durations import batch_speed
from analyzer.hierarchy import Hierarchy
from analyzer.intervals import rate
from analyzer.predictions import Predictions
from analyzer.report import Pictures, write_charts, write_report
from analyzer.result import (
    Accuracy,
    DatasetFacts,
    Evaluation,
    Finding,
    GateResult,
    ModelFacts,
    Result,
    Robustness,
    RobustnessPoint,
    RuleVerdict,
    Speed,
    StageCapacity,
    VariantSpeed,
)

GARMENTS = (
    *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
KINDS = Hierarchy(
    levels=("kind", "wearable"),
    groups=np.array(
        [[0, 0], [1, 0], [0, 0], [1, 0], [0, 0], [2, 0], [0, 0], [2, 0], [3, 1], [2, 0]]
    ),
)
TOP_K = 5
AUGMENTATIONS = ("rotation", "blur", "noise", "brightness", "snow", "JPEG quality")


def draw_predictions(
    model: str,
    dataset: str,
    labels: Sequence[str],
    images: int,
    *,
    skill: float,
    seed: int = 3,
    names: Sequence[str] | None = None,
    truth: np.ndarray | None = None,
    without_truth: int = 0,
    broken: int = 0,
) -> Predictions:
    """Answers that are right about as often as ``skill`` says, sooner wrong by a neighbour."""
    drawn = np.random.default_rng(7)
    if truth is None:
        truth = drawn.integers(0, len(labels), images)
    names = names or [f"{labels[t]}/{row:05d}.png" for row, t in enumerate(truth)]
    own = np.random.default_rng(seed)
    hardness = own.beta(1.2, 1.2, len(labels))
    logits = own.normal(0, 1, (images, len(labels))).astype(np.float32)
    rows = np.arange(images)
    logits[rows, truth] += 1.2 + 5.4 * skill - 1.6 * hardness[truth]
    logits[rows, (truth + 2) % len(labels)] += 2.1 * hardness[truth]
    logits += np.log(len(labels)) * 0.2 * (logits == logits.max(axis=1, keepdims=True))
    shares = np.exp(1.5 * (logits - logits.max(axis=1, keepdims=True)))
    shares /= shares.sum(axis=1, keepdims=True)
    width = min(TOP_K, len(labels))
    indices = np.argsort(-shares, axis=1)[:, :width].astype(np.int64)
    scores = np.take_along_axis(shares, indices, axis=1).astype(np.float32)
    said_truth = truth.astype(np.int64).copy()
    said_truth[:without_truth] = -1
    errors = [""] * images
    for row in range(images - broken, images):
        indices[row], scores[row] = -1, np.nan
        errors[row] = "the image cannot be decoded: image file is truncated"
    return Predictions(
        model=model,
        dataset=dataset,
        labels=tuple(labels),
        names=tuple(names),
        truth=said_truth,
        indices=indices,
        scores=scores,
        errors=tuple(errors),
    )


def robustness_of(found: Accuracy, loss: float) -> Robustness:
    """Curves that fall the faster, the larger ``loss``."""
    clean = found.top[0].hits
    points = [
        RobustnessPoint(
            augmentation=name,
            intensity=level,
            images=500,
            top1=rate(round(500 * clean.rate * (1 - loss * (at + 1) / 6 * level**1.5)), 500),
            mean_confidence=0.8 - 0.3 * level,
        )
        for at, name in enumerate(AUGMENTATIONS)
        for level in (0.2, 0.4, 0.6, 0.8, 1.0)
    ]
    drop = float(np.mean([clean.rate - point.top1.rate for point in points]))
    return Robustness(
        against="truth",
        clean=clean,
        points=tuple(points),
        mean_drop=drop,
        worst=AUGMENTATIONS[-1],
    )


def speed_of(scale: float) -> Speed:
    """Two variants, seven stages."""
    batches = [
        tuple(
            batch_speed(
                n, [(0.4 + 0.6 * n) / (scale * own) * (1 + at % 7 / 50) for at in range(80)]
            )
            for n in (1, 2, 4, 8, 16, 32)
        )
        for own in (1.0, 1.9)
    ]
    stages = ("receive", "decode", "queue", "copy", "infer", "collect", "respond")
    busy = (0.00009, 0.0038, None, 0.00003, 0.0051, 0.00001, 0.00006)
    return Speed(
        machine="2 cores of x86-64",
        variants=(
            VariantSpeed(
                file="fp32.onnx",
                precision="fp32",
                device="cpu:0",
                threads=1,
                file_bytes=14_000_000,
                memory_bytes=61_000_000,
                batches=batches[0],
            ),
            VariantSpeed(
                file="int8.onnx",
                precision="int8",
                device="cpu:0",
                threads=1,
                file_bytes=3_700_000,
                memory_bytes=None,
                batches=batches[1],
            ),
        ),
        stages=tuple(
            StageCapacity(
                stage=stage,
                seconds_per_image=each,
                workers=2 if stage == "decode" else 1,
                capacity=None if each is None else (2 if stage == "decode" else 1) / each,
            )
            for stage, each in zip(stages, busy, strict=True)
        ),
        bottleneck="infer",
        cores_per_device=7.4,
        note="feed one of these with 7.4 cores",
    )


def gate_of(model: str, found: Accuracy) -> GateResult:
    """A gate with a rule that held, one that did not, and one that nothing is known for."""
    top = found.top[0].hits
    rules = (("top1 >= 0.9", top.rate, top.low, 0.9), ("class_floor >= 0.5", 0.61, 0.55, 0.5))
    verdicts = tuple(
        RuleVerdict(
            rule=rule,
            model=model,
            dataset=None if "floor" in rule else "garments",
            passed=bound >= threshold,
            figure=figure,
            bound=bound,
            threshold=threshold,
            text=f"{figure:.3f}, at least {bound:.3f} with 95 % confidence",
        )
        for rule, figure, bound, threshold in rules
    )
    return GateResult(
        file="gate.yaml",
        champion="baseline",
        passed=all(verdict.passed for verdict in verdicts),
        verdicts=verdicts,
    )


def result_of(
    predictions: Sequence[Predictions],
    *,
    created: str = "2026-11-27T08:00:00Z",
    whole: bool = True,
) -> Result:
    """A result with every part there is, or with accuracy alone."""
    evaluations = []
    for at, asked in enumerate(predictions):
        found = accuracy(asked, KINDS if whole and asked.labels == GARMENTS else None)
        robust = robustness_of(found, 0.5 + 0.1 * min(at, 4)) if whole and found.judged else None
        evaluations.append(
            Evaluation(
                model=asked.model,
                dataset=asked.dataset,
                accuracy=found,
                robustness=robust,
                seconds=len(asked.names) / 900,
                images_per_second=900.0,
            )
        )
    models = list(dict.fromkeys(asked.model for asked in predictions))
    datasets = {asked.dataset: asked for asked in predictions}
    pairs = [
        agreement(one, two)
        for at, one in enumerate(predictions)
        for two in predictions[at + 1 :]
        if one.dataset == two.dataset and one.judged.any()
    ]
    return Result(
        created=created,
        command="millrace analyze --model baseline --model resnet --dataset garments --out report",
        tools={"millrace": "0.1.0", "onnxruntime": "1.31.1"},
        models=tuple(
            ModelFacts(
                name=name,
                source=f"store/{name}/1",
                version="1",
                variant="fp32.onnx",
                precision="fp32",
                sha256="5f" * 32,
                labels=next(p.labels for p in predictions if p.model == name),
                input="28x28 RGB, exact, bilinear",
                size_bytes=14_000_000,
            )
            for name in models
        ),
        datasets=tuple(_dataset(name, asked, whole) for name, asked in datasets.items()),
        evaluations=tuple(evaluations),
        speeds={name: speed_of(200.0 + 90 * at) for at, name in enumerate(models)} if whole else {},
        agreements=tuple(pairs) if whole else (),
        gate=gate_of(models[-1], evaluations[-1].accuracy) if whole and pairs else None,
    )


def _dataset(name: str, asked: Predictions, whole: bool) -> DatasetFacts:
    findings = (
        Finding(
            kind="duplicate",
            severity="warning",
            text="12 images are there twice, 3 of them with different labels",
            images=asked.names[:3],
            count=12,
        ),
        Finding(kind="imbalance", severity="info", text="the largest class has 1.2 of the mean"),
    )
    truths = asked.truth[asked.truth >= 0]
    counts = np.bincount(truths, minlength=len(asked.labels)).tolist()
    return DatasetFacts(
        name=name,
        source=f"data/{name}",
        digest="a1" * 32,
        images=len(asked.names),
        with_truth=len(truths),
        classes=dict(zip(asked.labels, counts, strict=True)),
        findings=findings if whole else (),
    )


def picture(name: str, size: tuple[int, int] = (28, 28)) -> bytes:
    """A small picture, its own for each name."""
    drawn = np.random.default_rng(sum(name.encode("utf-8", "surrogatepass")))
    coarse = drawn.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(coarse).resize(size).save(encoded, "PNG")
    return encoded.getvalue()


def two_models(images: int, labels: Sequence[str] = GARMENTS) -> list[Predictions]:
    """A baseline and a better one on the same images, some of them broken or without truth."""
    return [
        draw_predictions(
            name,
            "garments",
            labels,
            images,
            skill=skill,
            seed=at + 3,
            broken=min(2, images // 10),
            without_truth=min(5, images // 10),
        )
        for at, (name, skill) in enumerate((("baseline", 0.35), ("resnet", 0.55)))
    ]


def main(folder: Path, images: int, classes: int) -> None:
    """A report to look at."""
    labels = GARMENTS if classes == len(GARMENTS) else [f"class {c}" for c in range(classes)]
    predictions = two_models(images, labels)
    result = result_of(predictions)
    earlier = [
        result_of(
            [
                draw_predictions(p.model, p.dataset, labels, images, skill=0.3 + at / 20, seed=at)
                for p in predictions
            ],
            created=f"2026-11-2{at}T08:00:00Z",
        )
        for at in range(3)
    ]
    pictures = {"garments": Pictures(picture)}
    page = write_report(result, predictions, folder, pictures=pictures, history=earlier)
    write_charts(result, folder / "charts")
    print(page, page.stat().st_size)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(each) for each in sys.argv[2:4]))
