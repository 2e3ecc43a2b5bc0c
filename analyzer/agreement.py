"""Two models on the same images: where they differ, and which of them is right there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analyzer import intervals
from analyzer.errors import AgreementError
from analyzer.predictions import NO_TRUTH, Predictions
from analyzer.result import Agreement

MOST_CHANGED = 1_000


def agreement(first: Predictions, second: Predictions) -> Agreement:
    """Compare the best classes of images that both answered; classes are the first's.

    The models may have their classes in different orders, and the images may lie in different
    orders; images that only one of them was asked are left out.

    Raises:
        AgreementError: the models do not know the same classes; names one.
    """
    ours, theirs = _shared(first.names, second.names)
    both = first.answered[ours] & second.answered[theirs]
    ours, theirs = ours[both], theirs[both]
    truth, one = first.truth[ours], first.indices[ours, 0]
    other = _translation(first, second)[second.indices[theirs, 0]]
    known = truth != NO_TRUTH
    right, other_right = known & (one == truth), known & (other == truth)
    pairs = _pairs(truth[known], right[known], other_right[known], len(first.labels))
    both_right, only_first, only_second, neither = pairs.sum(axis=0).tolist()
    return Agreement(
        first=first.model,
        second=second.model,
        dataset=first.dataset,
        images=ours.size,
        same=intervals.rate(int((one == other).sum()), ours.size),
        both_right=both_right,
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=neither,
        mcnemar_p=mcnemar(only_first, only_second) if known.any() else None,
        changed=_changed([first.names[i] for i in ours], truth, one, other),
        by_class=tuple(
            (index, int(row[0] + row[1]), int(row[0] + row[2]))
            for index, row in enumerate(pairs)
            if row.any()
        ),
        pairs_by_class=tuple(
            (index, *(int(images) for images in row))  # type: ignore[misc]  # four of them
            for index, row in enumerate(pairs)
            if row.any()
        ),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """McNemar's exact test, two-sided: the odds of such a split if neither model is better."""
    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def _pairs(
    truth: NDArray[np.int64],
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    classes: int,
) -> NDArray[np.int64]:
    """(classes, 4): images of which both, only the first, only the second, neither is right."""
    outcome = np.where(right, np.where(other_right, 0, 1), np.where(other_right, 2, 3))
    counts = np.bincount(truth * 4 + outcome, minlength=classes * 4)
    return counts.astype(np.int64).reshape(classes, 4)


def _changed(
    names: Sequence[str],
    truth: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
) -> tuple[tuple[str, int, int, int], ...]:
    places = np.flatnonzero(one != other)[:MOST_CHANGED].tolist()
    return tuple((names[i], int(truth[i]), int(one[i]), int(other[i])) for i in places)


def _shared(
    names: Sequence[str], others: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places in both of the names that stand in both."""
    places = {name: place for place, name in enumerate(others)}
    found = [(mine, places[name]) for mine, name in enumerate(names) if name in places]
    array = np.array(found, dtype=np.int64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _translation(first: Predictions, second: Predictions) -> NDArray[np.int64]:
    """The first's class index of each of the second's."""
    ours = {label: index for index, label in enumerate(_numbered(first.labels))}
    theirs = _numbered(second.labels)
    strange = [label for label, _ in {*ours} ^ {*theirs}]
    if strange:
        raise AgreementError(
            f"{first.model} and {second.model} cannot be compared: only one of them "
            f"knows the class {min(strange)!r}; an endpoint's classes are all known with --labels"
        )
    return np.array([ours[label] for label in theirs], dtype=np.int64)


def _numbered(labels: Sequence[str]) -> list[tuple[str, int]]:
    """Each label with how often it came before, since a model may have one twice."""
    seen: Counter[str] = Counter()
    numbered = []
    for label in labels:
        numbered.append((label, seen[label]))
        seen[label] += 1
    return numbered
