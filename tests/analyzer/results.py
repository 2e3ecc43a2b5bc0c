"""Results of analyses, made of answers, for gates to judge."""

from __future__ import annotations

import itertools

import numpy as np

from analyzer.accuracy import accuracy
from analyzer.agreement import agreement
from analyzer.durations import batch_speed
from analyzer.result import (
    DatasetFacts,
    Evaluation,
    ModelFacts,
    Rate,
    Result,
    Robustness,
    RobustnessPoint,
    Speed,
    VariantSpeed,
)
from tests.analyzer.answers import predictions


def answered(right, images, *, model="new", score=0.9, missing=0):
    """Answers of a model of ten classes of which the first ``right`` are right."""
    truth = np.arange(images) % 10
    said = np.where(np.arange(images) < right, truth, (truth + 1) % 10)
    errors = [""] * images + ["broken"] * missing
    rows = np.append(said, [-1] * missing)
    scores = np.append([score] * images, [np.nan] * missing)
    truths = np.append(truth, [0] * missing)
    return predictions(truths, rows, scores, labels=10, model=model, errors=errors)


def facts(name, size=1_000_000):
    """Of one model."""
    return ModelFacts(
        name=name,
        source=name,
        version="1",
        variant="fp32.onnx",
        precision="fp32",
        sha256=None,
        labels=tuple(f"c{i}" for i in range(10)),
        input="",
        size_bytes=size,
    )


def timed(mean_s, batches, *, device="cpu", file="fp32.onnx", sizes=(1, 8)):
    """A speed whose batches take about as long as each other."""
    noise = np.random.default_rng(1).normal(1, 0.02, batches)
    return VariantSpeed(
        file=file,
        precision="fp32",
        device=device,
        threads=1,
        file_bytes=1,
        memory_bytes=None,
        batches=tuple(batch_speed(size, mean_s * size * noise) for size in sizes),
    )


def speed(*variants):
    """Of one model."""
    return Speed(
        machine="here",
        variants=variants,
        stages=(),
        bottleneck=None,
        cores_per_device=None,
        note="",
    )


def robust(clean, of, **points):
    """Right of ``of`` images, clean and under each augmentation at two intensities."""

    def rate(count):
        return Rate(count=count, of=of, rate=count / of, low=0, high=1)

    return Robustness(
        against="truth",
        clean=rate(clean),
        points=tuple(
            RobustnessPoint(
                augmentation=name, intensity=step, images=of, top1=rate(right), mean_confidence=None
            )
            for name, rights in points.items()
            for step, right in zip((0.5, 1.0), rights, strict=True)
        ),
        mean_drop=0,
        worst="",
    )


def result(*answers, speeds=None, sizes=None, findings=(), robustness=None):
    """Of models on one dataset, as an analysis would write it."""
    return Result(
        created="2026-01-01T00:00:00Z",
        command="",
        tools={},
        models=tuple(facts(a.model, (sizes or {}).get(a.model, 1_000_000)) for a in answers),
        datasets=(
            DatasetFacts(
                name="d",
                source="d",
                digest="",
                images=len(answers[0].names),
                with_truth=len(answers[0].names),
                classes={},
                findings=tuple(findings),
            ),
        ),
        evaluations=tuple(
            Evaluation(
                model=a.model,
                dataset="d",
                accuracy=accuracy(a),
                robustness=(robustness or {}).get(a.model),
                seconds=1,
                images_per_second=1,
            )
            for a in answers
        ),
        speeds=speeds or {},
        agreements=tuple(agreement(a, b) for a, b in itertools.combinations(answers, 2)),
    )
