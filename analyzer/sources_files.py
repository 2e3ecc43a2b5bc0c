"""Datasets of files: a tree of folders, or a CSV table beside its images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from analyzer.dataset import MOST_BYTES, Dataset, Item, by_folders, default_name, is_image, unique
from analyzer.errors import BrokenImageError, DatasetError
from analyzer.sources_table import read_table


class Files:
    """Reads regular files by their paths."""

    def read(self, place: str) -> bytes:
        """The bytes of one file.

        Raises:
            BrokenImageError: says why it has none.
        """
        path = Path(place)
        try:
            if not path.is_file():  # a device or a pipe would never end
                raise BrokenImageError("no such file" if not path.exists() else "no regular file")
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise BrokenImageError(f"cannot be read: {error.strerror or error}") from None
        if len(content) > MOST_BYTES:
            raise BrokenImageError(f"larger than {MOST_BYTES} bytes")
        return content


def open_folder(folder: Path, source: str) -> Dataset:
    """A tree of images; their folders are their classes, and without any they have none.

    What is hidden is left out, and links to folders are not followed.

    Raises:
        DatasetError: there is no image in it.
    """
    try:
        places = sorted(_places(folder))
    except OSError as error:
        raise DatasetError(f"{error.filename or folder}: {error.strerror or error}") from None
    if not places:
        raise DatasetError(
            f"{folder}: holds no images; a folder for each class, or images, go here"
        )
    # A name that is no UTF-8 can neither be shown nor written into a result.
    names = unique([os.fsencode(place).decode("utf-8", "backslashreplace") for place in places])
    items = tuple(
        Item(name, label, str(folder / place))
        for name, label, place in zip(names, by_folders(names), places, strict=True)
    )
    return Dataset(default_name(source), source, items, Files(), folders=True, folder=folder)


def _places(root: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise error

    for folder, inner, files in os.walk(root, onerror=refuse):
        inner[:] = [name for name in inner if not name.startswith(".")]
        for name in files:
            if is_image(name) and not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def open_csv(file: Path, source: str) -> Dataset:
    """The images that a table names; paths in it start at its folder.

    Raises:
        DatasetError: it is no such table.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read: {error.strerror or error}") from None
    rows = read_table(content, str(file))
    names = unique([row.file for row in rows])
    items = tuple(
        Item(name, row.label, str(file.parent / row.file))
        for name, row in zip(names, rows, strict=True)
    )
    return Dataset(default_name(source), source, items, Files(), folders=False, folder=file.parent)
