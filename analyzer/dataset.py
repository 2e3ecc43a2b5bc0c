"""A dataset: which images it has, what their classes are called, and their bytes on demand."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from model_store.reference import IMAGE_SUFFIXES

MOST_BYTES = 128 * 1024 * 1024  # of one image: what says it has more is no image but a bomb


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its name, unique in the dataset, and its class as the dataset calls it.

    ``place`` is where its bytes are: a path, or a name in an archive. ``label`` is None where
    nobody has said it.
    """

    name: str
    label: str | None
    place: str


class Source(Protocol):
    """Where bytes come from; may be read by several threads at once."""

    def read(self, place: str) -> bytes:
        """The bytes of one image.

        Raises:
            BrokenImageError: it is missing, too large, or damaged in its archive.
        """


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images in the order in which they were listed; nothing of them has been read yet.

    Attributes:
        name: in the report, unique there.
        source: as the user named it.
        items: one at least.
        folders: whether classes are the folders that images lie in, and not a table's labels.
        folder: where names are paths to files; None where they are in an archive.
    """

    name: str
    source: str
    items: tuple[Item, ...]
    reader: Source
    folders: bool
    folder: Path | None = None

    def read(self, number: int) -> bytes:
        """The bytes of one image.

        Raises:
            BrokenImageError: says why it has none.
        """
        return self.reader.read(self.items[number].place)

    def named(self, name: str) -> Dataset:
        """The same under another name."""
        return replace(self, name=name)


def is_image(name: str) -> bool:
    """Whether a file's name ends as those of images do."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def by_folders(names: Sequence[str]) -> list[str | None]:
    """The class of each image of a tree, by its path: as torchvision's ``ImageFolder`` has it.

    A class is the folder below the one that all images have in common (``test/7/1.png`` and
    ``test/9/2.png`` are of 7 and 9); where all lie in one folder it is that one; images that lie
    in none have no class.
    """
    parents = [PurePosixPath(name).parent.parts for name in names]
    shared = len(_common(parents))
    if all(len(parts) == shared for parts in parents):
        shared = max(0, shared - 1)
    return [parts[shared] if len(parts) > shared else None for parts in parents]


def _common(paths: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    first, last = min(paths), max(paths)
    for length, (one, other) in enumerate(zip(first, last, strict=False)):
        if one != other:
            return first[:length]
    return first[: min(len(first), len(last))]


def unique(names: Sequence[str]) -> list[str]:
    """The names, with a number behind those that came before."""
    seen: Counter[str] = Counter()
    taken = set(names)
    found = []
    for name in names:
        seen[name] += 1
        own, number = name, seen[name]
        while number > 1 and (own := f"{name} ({number})") in taken:
            number += 1
        taken.add(own)
        found.append(own)
    return found


def default_name(source: str) -> str:
    """A short name for a dataset: the last part of where it lies, without its ending."""
    last = posixpath.basename(source.rstrip("/")) or source
    stem = PurePosixPath(last).stem if last.lower().endswith((".zip", ".csv")) else last
    return stem or "dataset"
