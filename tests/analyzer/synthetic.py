"""Answers of models that do not exist, drawn with a seed, and the result that they make.

``python -m tests.analyzer.synthetic FOLDER`` writes a report of them, to look at.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from analyzer.predictions import Predictions
from analyzer.report import Pictures, write_charts, write_report
from analyzer.result import (
    Accuracy,
    Agreement,
    BatchSpeed,
    Bin,
    Calibration,
    ClassFigures,
    ConfusedPair,
    Curve,
    DatasetFacts,
    Evaluation,
    Finding,
    GateResult,
    HierarchyScores,
    ModelFacts,
    Rate,
    Result,
    Robustness,
    RobustnessPoint,
    RuleVerdict,
    Speed,
    StageCapacity,
    Threshold,
    TopK,
    VariantSpeed,
)

GARMENTS = (
    *("T-shirt", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
TOP_K = 5
AUGMENTATIONS = ("rotation", "blur", "noise", "brightness", "snow", "JPEG quality")


def rate(count: int, of: int) -> Rate:
    """Wilson's 95 % interval."""
    if of == 0:
        return Rate(count=0, of=0, rate=0.0, low=0.0, high=1.0)
    z, share = 1.959964, count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return Rate(count=count, of=of, rate=share, low=middle - half, high=middle + half)


def draw_predictions(  # noqa: PLR0913 (a generator of test data)
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


def accuracy_of(asked: Predictions) -> Accuracy:
    """The figures, reckoned in the plainest way."""
    judged = asked.judged
    truth, said = asked.truth[judged], asked.indices[judged, 0]
    score, hit = asked.scores[judged, 0].astype(float), truth == said
    pairs, images = np.unique(np.column_stack([truth, said]), axis=0, return_counts=True)
    confusion = [(int(t), int(s), int(n)) for (t, s), n in zip(pairs, images, strict=True)]
    support = np.bincount(truth, minlength=len(asked.labels))
    wrong = sorted((c for c in confusion if c[0] != c[1]), key=lambda c: -c[2])[:50]
    classes = tuple(_class(asked, c, confusion, support) for c in range(len(asked.labels)))
    steps = np.linspace(0, 1, 101)
    return Accuracy(
        images=len(asked.names),
        answered=int(asked.answered.sum()),
        judged=int(judged.sum()),
        top=tuple(
            TopK(k=k, hits=rate(int((asked.ranks[judged] < k).sum()), int(judged.sum())))
            for k in range(1, asked.top_k + 1)
        ),
        mean_confidence=_mean(asked.scores[asked.answered, 0]),
        mean_confidence_hits=_mean(score[hit]),
        mean_confidence_misses=_mean(score[~hit]),
        balanced_accuracy=_mean(np.array([c.recall.rate for c in classes if c.support])),
        macro_f1=_mean(np.array([c.f1 for c in classes if c.support])),
        classes=classes,
        confusion=tuple(confusion),
        confused=tuple(
            ConfusedPair(truth=t, said=s, images=n, share=n / int(support[t])) for t, s, n in wrong
        ),
        calibration=_calibration(score, hit) if len(hit) else None,
        thresholds=tuple(_threshold(float(step), score, hit) for step in steps) if len(hit) else (),
        roc=_curve(steps, 1 - (1 - steps) ** 9, 0.97) if len(hit) else None,
        precision_recall=_curve(steps, 1 - 0.4 * steps**6, 0.93) if len(hit) else None,
        hierarchy=None,
    )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _class(asked: Predictions, index: int, confusion: list, support: np.ndarray) -> ClassFigures:
    right = sum(n for t, s, n in confusion if t == s == index)
    said = sum(n for _, s, n in confusion if s == index)
    of, own = int(support[index]), asked.judged & (asked.truth == index)
    taken = sorted(((s, n) for t, s, n in confusion if t == index != s), key=lambda p: -p[1])[:5]
    return ClassFigures(
        index=index,
        label=asked.labels[index],
        support=of,
        predicted=said,
        precision=rate(right, said),
        recall=rate(right, of),
        f1=2 * right / (of + said) if of + said else 0.0,
        top5=rate(int((asked.ranks[own] < TOP_K).sum()), of),
        mean_confidence=_mean(asked.scores[own, 0]),
        roc_auc=0.9 + 0.1 * right / of if of else None,
        average_precision=right / of if of else None,
        confused_with=tuple(taken),
    )


def _calibration(score: np.ndarray, hit: np.ndarray) -> Calibration:
    edges = np.linspace(0, 1, 16)
    bins, gaps = [], []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        own = (score >= low) & (score < high)
        confidence, accuracy = _mean(score[own]), _mean(hit[own])
        bins.append(
            Bin(
                low=float(low),
                high=float(high),
                images=int(own.sum()),
                confidence=confidence,
                accuracy=accuracy,
            )
        )
        if confidence is not None and accuracy is not None:
            gaps.append((abs(confidence - accuracy), int(own.sum())))
    return Calibration(
        bins=tuple(bins),
        ece=sum(gap * n for gap, n in gaps) / len(hit),
        mce=max(gap for gap, _ in gaps),
        brier=float(((score - hit) ** 2).mean()),
    )


def _threshold(step: float, score: np.ndarray, hit: np.ndarray) -> Threshold:
    taken = score >= step
    right = int(hit[taken].sum())
    return Threshold(
        threshold=step,
        taken=int(taken.sum()),
        right=right,
        wrong=int(taken.sum()) - right,
        accuracy=_mean(hit[taken]),
    )


def _curve(x: np.ndarray, y: np.ndarray, area: float) -> Curve:
    return Curve(x=tuple(x.tolist()), y=tuple(y.tolist()), area=area)


def agreement_of(first: Predictions, second: Predictions) -> Agreement:
    """Two models on one dataset."""
    both = first.judged & second.judged
    one = first.indices[:, 0] == first.truth
    two = second.indices[:, 0] == second.truth
    same = (first.indices[:, 0] == second.indices[:, 0]) & both
    changed = np.flatnonzero(both & ~same)[:1000]
    return Agreement(
        first=first.model,
        second=second.model,
        dataset=first.dataset,
        images=int(both.sum()),
        same=rate(int(same.sum()), int(both.sum())),
        both_right=int((both & one & two).sum()),
        only_first_right=int((both & one & ~two).sum()),
        only_second_right=int((both & ~one & two).sum()),
        both_wrong=int((both & ~one & ~two).sum()),
        mcnemar_p=0.00012,
        changed=tuple(
            (
                first.names[row],
                int(first.truth[row]),
                int(first.indices[row, 0]),
                int(second.indices[row, 0]),
            )
            for row in changed
        ),
        by_class=tuple(
            (
                c,
                int((one & both & (first.truth == c)).sum()),
                int((two & both & (first.truth == c)).sum()),
            )
            for c in range(len(first.labels))
        ),
    )


def robustness_of(accuracy: Accuracy, loss: float) -> Robustness:
    """Curves that fall the faster, the larger ``loss``."""
    clean = accuracy.top[0].hits
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
            BatchSpeed(
                batch_size=n,
                images_per_second=scale * own * n / (0.4 + 0.6 * n),
                latency_s=(0.4 + 0.6 * n) / (scale * own),
                p99_s=1.3 * (0.4 + 0.6 * n) / (scale * own),
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


def gate_of(model: str, accuracy: Accuracy) -> GateResult:
    """A gate with a rule that held and one that did not."""
    top = accuracy.top[0].hits
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
        accuracy = accuracy_of(asked)
        if whole and accuracy.judged:
            accuracy = accuracy.model_copy(update={"hierarchy": _hierarchy(accuracy)})
        robust = robustness_of(accuracy, 0.5 + 0.2 * at) if whole and accuracy.judged else None
        evaluations.append(
            Evaluation(
                model=asked.model,
                dataset=asked.dataset,
                accuracy=accuracy,
                robustness=robust,
                seconds=len(asked.names) / 900,
                images_per_second=900.0,
            )
        )
    models = list(dict.fromkeys(asked.model for asked in predictions))
    datasets = {asked.dataset: asked for asked in predictions}
    pairs = [
        agreement_of(one, two)
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


def _hierarchy(accuracy: Accuracy) -> HierarchyScores:
    top = accuracy.top[0].hits.rate
    return HierarchyScores(
        levels=("class", "kind", "wearable"),
        accuracy_by_level=(top, (1 + 2 * top) / 3, (1 + top) / 2),
        standard=top,
        confidence_aware=top * 0.9,
        error_aware=(1 + top) / 2,
        hierarchy_aware=(1 + 2 * top) / 3,
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
    print(page, page.stat().st_size)  # noqa: T201 (a script's answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(each) for each in sys.argv[2:4]))
