"""Images that are nearly the same: saved again, resized, or frames of one moment.

Two images are taken as alike if a perceptual hash of them (dHash: whether brightness rises or
falls from one place to the next, 240 of them) differs in at most 4 places and their thumbnails
(32 by 32, grey) by at most 3 of 255 levels on average. The hash alone takes every black T-shirt for
the next; the thumbnails alone take whatever is dim and smooth for alike.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from analyzer.dataset_survey import Progress, Survey
from analyzer.errors import BrokenImageError
from analyzer.result import Finding
from model_store.reference import FORMATS

MOST_COMPARED = 20_000  # images; each costs about a third of what decoding it for a network does
MOST_PIXELS = 50_000_000
SIDE, BLOCK = 32, 2
PLACES_APART, LEVELS_APART = 4, 3.0
MOST_NAMED = 20
_READ = 64  # images for each turn of a thread
_ROWS = 256  # between two words of how it goes
MOST_LOOKED_AT = 64  # of the rows whose hashes are close, those nearest in brightness


def near_duplicates(survey: Survey, progress: Progress) -> Iterator[Finding]:
    """Images that are nearly another one, and not byte for byte."""
    if len(survey.digests) > MOST_COMPARED:
        return
    numbers, thumbnails = _thumbnails(survey, progress)
    pairs = alike(thumbnails, progress)
    found = [(int(numbers[one]), int(numbers[other])) for one, other in pairs]
    if not found:
        return
    items = survey.dataset.items
    later = sorted({max(pair) for pair in found})
    torn = sum(items[one].label != items[other].label for one, other in found)
    one, other = found[0]
    yield Finding(
        kind="duplicate",
        severity="info",
        text=f"{len(later)} of {len(items)} images are nearly another one, such as "
        f"{items[one].name} ≈ {items[other].name}"
        + (f"; {torn} of these pairs are of two classes" if torn else ""),
        images=tuple(items[number].name for number in later[:MOST_NAMED]),
        count=len(later),
    )


def alike(
    thumbnails: NDArray[np.uint8], progress: Progress = lambda *_: None
) -> list[tuple[int, int]]:
    """A pair for each row of ``thumbnails`` (n, 32, 32) that is nearly the same as another one.

    Rows are gone through in the order of their mean brightness, since it differs by no more than
    the thumbnails do; so few of all pairs are looked at. Each is paired with one that came before,
    and with no more, or a film of one scene would make as many pairs as there are.

    Returns:
        At most n - 1 pairs, the smaller number first.
    """
    means = thumbnails.mean(axis=(1, 2), dtype=np.float64)
    order = np.argsort(means, kind="stable")
    means, hashes = means[order], _hashes(thumbnails)[order]
    firsts = np.searchsorted(means, means - LEVELS_APART, side="left")
    found = []
    for row, first in enumerate(firsts.tolist()):
        apart = np.bitwise_count(hashes[first:row] ^ hashes[row]).sum(axis=1)
        close = order[first:row][apart <= PLACES_APART][-MOST_LOOKED_AT:]
        levels = _levels_apart(thumbnails[close], thumbnails[order[row]])
        if len(close) and levels.min() <= LEVELS_APART:
            one, other = int(close[levels.argmin()]), int(order[row])
            found.append((min(one, other), max(one, other)))
        if row % _ROWS == 0:
            progress("near duplicates", row, len(order))
    return sorted(found)


def _levels_apart(some: NDArray[np.uint8], one: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(m,): of each of (m, 32, 32), on average."""
    apart = np.abs(some.astype(np.int16) - one.astype(np.int16))
    return np.asarray(apart.mean(axis=(1, 2)), np.float64)


def _hashes(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64 (n, 4): 16 rows of 15 steps, and a bit that is always 0."""
    half = SIDE // BLOCK
    small = thumbnails.reshape(-1, half, BLOCK, half, BLOCK).mean(axis=(2, 4))
    rises = np.zeros((len(small), half, half), np.bool_)
    rises[:, :, 1:] = small[:, :, 1:] > small[:, :, :-1]
    flat = rises.reshape(len(small), half * half)
    packed: NDArray[np.uint64] = np.packbits(flat, axis=1).view(np.uint64)
    return packed


def _thumbnails(survey: Survey, progress: Progress) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The numbers of the images that can be decoded, and their thumbnails; of copies the first."""
    count = len(survey.digests)
    copies = np.ones(count, np.bool_)
    copies[list({digest: at for at, digest in reversed([*enumerate(survey.digests)])}.values())] = 0
    thumbnails = np.zeros((count, SIDE, SIDE), np.uint8)
    good = np.zeros(count, np.bool_)

    def shrink(first: int) -> None:
        for number in range(first, min(first + _READ, count)):
            if copies[number]:
                continue
            try:
                thumbnails[number] = _thumbnail(survey.read(number))
                good[number] = True
            # A decoder on hostile bytes raises whatever it likes; a broken image is like no other.
            except (BrokenImageError, Exception):  # noqa: BLE001, S112 (says why above)
                continue

    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "alike")
    try:
        blocks: Sequence[int] = range(0, count, _READ)
        for first, _ in zip(blocks, pool.map(shrink, blocks), strict=True):
            progress("comparing", min(first + _READ, count), count)
    finally:
        pool.shutdown(cancel_futures=True)
    numbers: NDArray[np.int64] = np.flatnonzero(good)
    return numbers, thumbnails[numbers]


def _thumbnail(encoded: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
        if opened.width * opened.height > MOST_PIXELS:
            raise BrokenImageError("too large")
        opened.draft("L", (2 * SIDE, 2 * SIDE))
        grey = opened.convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX))
