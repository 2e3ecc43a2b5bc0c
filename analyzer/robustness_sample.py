"""Which images of a dataset are augmented: a part of each class, always the same ones. Pure."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analyzer.predictions import NO_TRUTH


def stratified(names: Sequence[str], truth: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Choose ``size`` images with each class' share of the dataset, by their names.

    Every class' images, in an order of chance, are spread evenly over one line, and the line's
    beginning is taken. Where any image has a truth, those without one are left out.

    Args:
        names: of the images, unique.
        truth: int64 (n,), ``NO_TRUTH`` where there is none.
        size: how many; all where there are fewer.

    Returns:
        Their numbers, int64, rising.
    """
    known = truth != NO_TRUTH
    wanted = np.flatnonzero(known) if known.any() else np.arange(len(names))
    classes: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    for number in wanted.tolist():
        classes[int(truth[number])].append((_chance(names[number]), number))
    line = []
    for members in classes.values():
        for place, (chance, number) in enumerate(sorted(members)):
            line.append(((place + 0.5) / len(members), chance, number))
    chosen = [number for _, _, number in sorted(line)[:size]]
    return np.array(sorted(chosen), np.int64)


def _chance(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
