"""A dataset's names of classes onto a model's: which class index each image is of. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyzer.dataset import Dataset
from analyzer.predictions import NO_TRUTH
from analyzer.result import Finding

MOST_NAMED = 20
_BETWEEN = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Truth:
    """Class indices of a dataset's images by a model's labels, and what was noticed.

    Attributes:
        indices: int64 (n,), ``NO_TRUTH`` where there is none.
        unknown_class: images whose name fits no class, or several.
        findings: names that no class has, that two have, or that differ in writing.
    """

    indices: NDArray[np.int64]
    unknown_class: int
    findings: tuple[Finding, ...]


def truth_of(dataset: Dataset, labels: Sequence[str], model: str) -> Truth:
    """Find each image's class among ``labels``, line number = class index.

    A name is a class' label as it is written; or in other letter case, or with other characters
    between its words; or, where no label is a number, a class index. One that fits none, or two,
    is no truth and a finding; where all images lie in one folder that fits none, it is just a
    folder and no class.
    """
    names = Counter(item.label for item in dataset.items if item.label is not None)
    known = _Labels(labels)
    found = {name: known.find(name) for name in names}
    if dataset.folders and len(names) == 1 and found[next(iter(names))].index is None:
        return Truth(np.full(len(dataset.items), NO_TRUTH), 0, ())
    indices = [
        NO_TRUTH if item.label is None else _or_none(found[item.label].index)
        for item in dataset.items
    ]
    unknown = sum(count for name, count in names.items() if found[name].index is None)
    return Truth(np.array(indices, np.int64), unknown, _findings(found, names, labels, model))


@dataclass(frozen=True, slots=True)
class _Found:
    index: int | None
    exact: bool = False
    several: tuple[int, ...] = ()


class _Labels:
    """A model's labels, to be looked up."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._count = len(labels)
        self._exact, self._alike = (
            defaultdict[str, list[int]](list),
            defaultdict[str, list[int]](list),
        )
        for index, label in enumerate(labels):
            self._exact[label].append(index)
            self._alike[alike(label)].append(index)
        self._numbers = any(label.strip().isdecimal() for label in labels)

    def find(self, name: str) -> _Found:
        for table, key, exact in ((self._exact, name, True), (self._alike, alike(name), False)):
            places = table.get(key, ())
            if len(places) == 1:
                return _Found(places[0], exact)
            if places:
                return _Found(None, several=tuple(places))
        if name.isascii() and name.isdecimal() and not self._numbers and int(name) < self._count:
            return _Found(int(name), exact=True)
        return _Found(None)


def alike(name: str) -> str:
    """What names have in common that differ in letter case or in what is between their words."""
    return _BETWEEN.sub(" ", name).strip().casefold() or name


def _or_none(index: int | None) -> int:
    return NO_TRUTH if index is None else index


def _findings(
    found: dict[str, _Found], names: Counter[str], labels: Sequence[str], model: str
) -> tuple[Finding, ...]:
    unknown = sorted(name for name, one in found.items() if one.index is None and not one.several)
    several = sorted(name for name, one in found.items() if one.several)
    unlike = sorted(name for name, one in found.items() if one.index is not None and not one.exact)
    findings = []
    if unknown:
        findings.append(
            Finding(
                kind="labels",
                severity="error",
                text=f"{model} has no class called {_some(unknown)}: their images have no truth",
                count=sum(names[name] for name in unknown),
            )
        )
    for name in several:
        places = " and ".join(map(str, found[name].several))
        findings.append(
            Finding(
                kind="labels",
                severity="error",
                text=f"{model} has {name!r} as classes {places}: name them by index; until then "
                "their images have no truth",
                count=names[name],
            )
        )
    if unlike:
        written = [f"{name!r} for {labels[found[name].index or 0]!r}" for name in unlike]
        findings.append(
            Finding(
                kind="labels",
                severity="info",
                text=f"taken as {model}'s classes though written otherwise: {_listed(written)}",
                count=sum(names[name] for name in unlike),
            )
        )
    twice = _written_twice(found)
    for index, written in twice.items():
        findings.append(
            Finding(
                kind="conflict",
                severity="warning",
                text=f"{_some(written)} are all taken as {model}'s class {labels[index]!r}",
                count=sum(names[name] for name in written),
            )
        )
    return tuple(findings)


def _written_twice(found: dict[str, _Found]) -> dict[int, list[str]]:
    by_index = defaultdict[int, list[str]](list)
    for name, one in sorted(found.items()):
        if one.index is not None:
            by_index[one.index].append(name)
    return {index: names for index, names in sorted(by_index.items()) if len(names) > 1}


def _some(names: Sequence[str]) -> str:
    return _listed([repr(name) for name in names])


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
