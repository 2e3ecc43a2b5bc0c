"""Groups of classes, and scores that tell a small mistake from a big one.

``hierarchy.csv`` has a heading and a row per label, from fine to coarse::

    label,kind,nature
    tabby,cat,animal
    beagle,dog,animal
    anvil,,thing

A blank repeats what stands to its left. Groups nest: what shares one shares all to its right.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analyzer.errors import HierarchyError
from analyzer.predictions import Predictions
from analyzer.result import HierarchyScores

LABEL_HEADING = "label"


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The groups of one model's classes.

    Attributes:
        levels: names of the levels, fine to coarse.
        groups: int64 (classes, levels); equal numbers in a column are one group.
    """

    levels: tuple[str, ...]
    groups: NDArray[np.int64]


def read_hierarchy(file: Path, labels: Sequence[str], nameless: Collection[str] = ()) -> Hierarchy:
    """The groups in ``file`` of a model's ``labels``; rows of other labels are left out.

    A label that a model has twice takes its rows in their order, or one row for both. Those that
    stand for classes whose names nobody knows need none: each is a group of its own.

    Raises:
        HierarchyError: naming the file and the line, or the label that has no row.
    """
    heading, *rows = _rows(file)
    levels = tuple(heading[1:])
    if heading[0].lower() != LABEL_HEADING or not levels or not all(levels):
        raise HierarchyError(
            f"{file}: the first line must be '{LABEL_HEADING}' and a name for each level of groups"
        )
    by_label: dict[str, list[tuple[str, ...]]] = {}
    for number, row in enumerate(rows, start=2):
        if len(row) != len(heading) or not row[0]:
            raise HierarchyError(
                f"{file}: row {number} must have {len(heading)} cells, label first"
            )
        by_label.setdefault(row[0], []).append(_filled(row))
    for name in nameless:
        by_label.setdefault(name, [(name,) * len(heading[1:])])
    chosen = [*_chosen(file, by_label, labels)]
    _check_nesting(file, levels, chosen)
    columns = [_numbered(row[level] for row in chosen) for level in range(len(levels))]
    return Hierarchy(levels, np.array(columns, dtype=np.int64).T)


def _rows(file: Path) -> list[list[str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [[cell.strip() for cell in row] for row in csv.reader(lines, strict=True)]
    except FileNotFoundError:
        raise HierarchyError(f"{file}: no such file of groups") from None
    except UnicodeDecodeError:
        raise HierarchyError(f"{file}: groups must be UTF-8 text") from None
    except OSError as error:
        raise HierarchyError(f"{file}: cannot be read: {error.strerror}") from error
    except csv.Error as error:
        raise HierarchyError(f"{file}: is not CSV: {error}") from error
    while rows and not any(rows[-1]):
        rows.pop()
    if not rows or not rows[0]:
        raise HierarchyError(f"{file}: is empty; it needs a heading and a row per label")
    return rows


def _filled(row: Sequence[str]) -> tuple[str, ...]:
    """The groups of a row, blanks filled from their left."""
    filled, last = [], row[0]
    for cell in row[1:]:
        last = cell or last
        filled.append(last)
    return tuple(filled)


def _chosen(
    file: Path, by_label: dict[str, list[tuple[str, ...]]], labels: Sequence[str]
) -> Iterable[tuple[str, ...]]:
    """The groups of each class."""
    wanted, times = Counter(labels), Counter[str]()
    for label in labels:
        rows = by_label.get(label)
        if rows is None:
            raise HierarchyError(f"{file}: has no row for the label {label!r}")
        if len(rows) not in (1, wanted[label]):
            raise HierarchyError(
                f"{file}: has {len(rows)} rows for the label {label!r}, "
                f"of which the model has {wanted[label]}"
            )
        yield rows[times[label] if len(rows) > 1 else 0]
        times[label] += 1


def _check_nesting(file: Path, levels: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    for level in range(len(levels) - 1):
        parents: dict[str, str] = {}
        for row in rows:
            parent = parents.setdefault(row[level], row[level + 1])
            if parent != row[level + 1]:
                raise HierarchyError(
                    f"{file}: the {levels[level]} {row[level]!r} is in two groups of "
                    f"{levels[level + 1]}: {parent!r} and {row[level + 1]!r}"
                )


def _numbered(names: Iterable[str]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def hierarchy_scores(predictions: Predictions, hierarchy: Hierarchy) -> HierarchyScores | None:
    """The four scores of MIVisionX's analysis tool; None where no image has a truth.

    Its third method subtracts up to 1 for a distant mistake however unsure the answer was, and
    rewards one within the finest group. Here a mistake costs its confidence times the share of
    levels at which it is wrong, so that always
    ``error_aware <= hierarchy_aware <= confidence_aware <= standard``.
    """
    judged = predictions.judged
    if not judged.any():
        return None
    best = predictions.scores[judged, 0].astype(np.float64)
    truth, said = predictions.truth[judged], predictions.indices[judged, 0]
    hit = truth == said
    same = hierarchy.groups[truth] == hierarchy.groups[said]  # (judged, levels)
    wrong_levels = 1 - same.mean(axis=1)
    won, lost = float((best * hit).mean()), float((best * ~hit).mean())
    return HierarchyScores(
        levels=hierarchy.levels,
        accuracy_by_level=tuple(same.mean(axis=0).tolist()),
        standard=float(hit.mean()),
        confidence_aware=won,
        error_aware=won - lost,
        hierarchy_aware=won - float((best * wrong_levels).mean()),
    )
