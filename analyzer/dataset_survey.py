"""One reading of a whole dataset: what each image's bytes are, kept where they fit in memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from analyzer.dataset import Dataset
from analyzer.errors import BrokenImageError

Progress: TypeAlias = Callable[[str, int, int], None]  # what, done, of how many

KEPT_BYTES = 1024**3  # of all images together; beyond it they are read again when they are wanted
BLOCK = 64  # images for each turn of a reading thread


@dataclass(frozen=True, slots=True)
class Survey:
    """A dataset whose bytes have been seen once.

    Attributes:
        dataset: which one.
        digests: hex sha256 of each image's bytes; empty where it could not be read.
        errors: why it could not; empty where it could.
        kept: bytes of images, by number; the others are read again.
    """

    dataset: Dataset
    digests: tuple[str, ...]
    errors: tuple[str, ...]
    kept: dict[int, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """Hex sha256 over names, labels and bytes, in order: which dataset this is."""
        whole = hashlib.sha256()
        for item, digest in zip(self.dataset.items, self.digests, strict=True):
            label = "-" if item.label is None else f"={item.label}"
            whole.update(f"{item.name}\0{label}\0{digest}\0".encode())
        return whole.hexdigest()

    def read(self, number: int) -> bytes:
        """The bytes of one image.

        Raises:
            BrokenImageError: says why it has none.
        """
        if self.errors[number]:
            raise BrokenImageError(self.errors[number])
        kept = self.kept.get(number)
        return self.dataset.read(number) if kept is None else kept


def survey(dataset: Dataset, progress: Progress, keep_bytes: int = KEPT_BYTES) -> Survey:
    """Read every image once, by several threads.

    Args:
        dataset: to be read.
        progress: told how it goes.
        keep_bytes: how much may be kept in memory.
    """
    count = len(dataset.items)
    reading = _Reading(dataset, keep_bytes)
    threads = min(8, 2 * len(os.sched_getaffinity(0)))  # disks and networks like several at once
    pool = ThreadPoolExecutor(threads, "survey")
    try:
        blocks = range(0, count, BLOCK)
        for first, _ in zip(blocks, pool.map(reading.look, blocks), strict=True):
            progress("reading", min(first + BLOCK, count), count)
    finally:
        pool.shutdown(cancel_futures=True)
    return Survey(dataset, tuple(reading.digests), tuple(reading.errors), reading.kept)


class _Reading:
    """What threads have read so far; each block of images is one thread's."""

    def __init__(self, dataset: Dataset, keep_bytes: int) -> None:
        self.digests = [""] * len(dataset.items)
        self.errors = [""] * len(dataset.items)
        self.kept: dict[int, bytes] = {}
        self._dataset = dataset
        self._left = keep_bytes
        self._lock = threading.Lock()

    def look(self, first: int) -> None:
        """Read the block that begins with image ``first``."""
        for number in range(first, min(first + BLOCK, len(self.digests))):
            try:
                content = self._dataset.read(number)
            except BrokenImageError as error:
                self.errors[number] = str(error)
                continue
            self.digests[number] = hashlib.sha256(content).hexdigest()
            with self._lock:
                if len(content) <= self._left:
                    self._left -= len(content)
                    self.kept[number] = content
