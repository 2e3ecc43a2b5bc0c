"""What is wrong, or odd, with a dataset. Pure, but for what it is given.

A dataset with some broken images is common and usable; with many of them figures mean little. So
what spoils images is an error from a share of 1 % on, and a warning below.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from analyzer.dataset import Dataset
from analyzer.dataset_survey import Survey
from analyzer.predictions import NO_TRUTH
from analyzer.result import Finding

MOST_IMAGES = 20  # that a finding names
SPOILT = 0.01  # share of the images
UNEVEN = 10.0  # images of the largest class for one of the smallest


def broken(dataset: Dataset, errors: Sequence[str]) -> Iterator[Finding]:
    """Images without an answer, and why the first one has none."""
    numbers = [number for number, error in enumerate(errors) if error]
    if numbers:
        first = numbers[0]
        yield Finding(
            kind="broken",
            severity=_by_share(len(numbers), len(errors)),
            text=f"{len(numbers)} of {len(errors)} images have no answer, such as "
            f"{dataset.items[first].name}: {errors[first]}",
            images=_names(dataset, numbers),
            count=len(numbers),
        )


def exact_duplicates(survey: Survey) -> Iterator[Finding]:
    """The very same bytes twice, and those that are there under two names of classes."""
    groups = defaultdict[str, list[int]](list)
    for number, digest in enumerate(survey.digests):
        if digest:
            groups[digest].append(number)
    items, count = survey.dataset.items, len(survey.digests)
    twice = [group for group in groups.values() if len(group) > 1]
    torn = [group for group in twice if len(_labels(survey.dataset, group)) > 1]
    if twice:
        more = sum(len(group) - 1 for group in twice)
        example = " = ".join(items[number].name for number in twice[0][:2])
        yield Finding(
            kind="duplicate",
            severity="warning" if more > SPOILT * count else "info",
            text=f"{more} of {count} images repeat another one byte for byte, such as {example}",
            images=_names(survey.dataset, [number for group in twice for number in group[1:]]),
            count=more,
        )
    if torn:
        images = sum(len(group) for group in torn)
        labels = " and ".join(repr(label) for label in _labels(survey.dataset, torn[0])[:2])
        yield Finding(
            kind="conflict",
            severity=_by_share(images, count),
            text=f"{images} of {count} images are there under several classes, such as "
            f"{items[torn[0][0]].name} as {labels}",
            images=_names(survey.dataset, [number for group in torn for number in group]),
            count=images,
        )


def imbalance(dataset: Dataset) -> Iterator[Finding]:
    """Some classes with many times the images of others."""
    counts = class_counts(dataset)
    if len(counts) < 2:
        return
    (most, largest), (least, smallest) = (
        max(counts.items(), key=lambda each: each[1]),
        min(counts.items(), key=lambda each: each[1]),
    )
    if largest > UNEVEN * smallest:
        yield Finding(
            kind="imbalance",
            severity="warning",
            text=f"{most!r} has {largest} images and {least!r} {smallest}: plain accuracy is that "
            "of large classes, so look at the balanced one",
            count=largest,
        )


def empty_classes(labels: Sequence[str], truth: NDArray[np.int64], model: str) -> Iterator[Finding]:
    """Classes of the model that the dataset has no image of; nothing where it has no truths."""
    there = set(truth[truth != NO_TRUTH].tolist())
    if not there:
        return
    missing = [label for index, label in enumerate(labels) if index not in there]
    if missing:
        named = ", ".join(missing[:MOST_IMAGES]) + (", …" if len(missing) > MOST_IMAGES else "")
        yield Finding(
            kind="empty",
            severity="info",
            text=f"no image of {len(missing)} of {model}'s {len(labels)} classes: {named}",
            count=len(missing),
        )


def class_counts(dataset: Dataset) -> dict[str, int]:
    """Images by the dataset's own names of classes, by name."""
    found = Counter(item.label for item in dataset.items if item.label is not None)
    return {label: found[label] for label in sorted(found)}


def printable(text: str) -> str:
    """The same with what could move a terminal's cursor, or break a line, as escapes."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in text
    )


def _by_share(count: int, of: int) -> Literal["warning", "error"]:
    return "error" if count > SPOILT * of else "warning"


def _labels(dataset: Dataset, group: Sequence[int]) -> list[str]:
    return sorted({label for number in group if (label := dataset.items[number].label) is not None})


def _names(dataset: Dataset, numbers: Sequence[int]) -> tuple[str, ...]:
    return tuple(dataset.items[number].name for number in numbers[:MOST_IMAGES])
