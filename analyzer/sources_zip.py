"""Datasets in a zip file, read in place: nothing is ever unpacked to disk."""

from __future__ import annotations

import lzma
import re
import threading
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from analyzer.dataset import MOST_BYTES, Dataset, Item, by_folders, default_name, is_image, unique
from analyzer.errors import BrokenImageError, DatasetError
from analyzer.sources_table import read_table

MOST_TABLE_BYTES = 256 * 1024 * 1024
_DRIVE = re.compile(r"[A-Za-z]:")
# What Python's reader raises on damaged, encrypted or unknown members.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
    NotImplementedError,
    EOFError,
    OSError,
    ValueError,
)


class Members:
    """Reads members of one archive, each only up to a bound, whatever it says its size is."""

    def __init__(self, file: Path) -> None:
        self._archive = zipfile.ZipFile(file)
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Every file in it, as it is listed."""
        return [info.filename for info in self._archive.infolist() if not info.is_dir()]

    def read(self, place: str, most: int = MOST_BYTES) -> bytes:
        """The bytes of one member.

        Raises:
            BrokenImageError: it is damaged, encrypted, missing, or larger than ``most``.
        """
        try:
            info = self._archive.getinfo(place)
            if info.file_size > most:
                raise BrokenImageError(f"larger than {most} bytes")
            with self._lock, self._archive.open(info) as member:
                content = member.read(most + 1)
        except KeyError:
            raise BrokenImageError("no such file in the archive") from None
        except _DAMAGED as error:
            raise BrokenImageError(f"damaged in the archive: {error}") from None
        if len(content) > most:
            raise BrokenImageError(f"larger than {most} bytes")
        return content


def open_zip(file: Path, source: str) -> Dataset:
    """Class folders in an archive, or a CSV table in it and the images that it names.

    Raises:
        DatasetError: it is no archive, has names that lead out of it, several tables, or no image.
    """
    try:
        members = Members(file)
    except _DAMAGED as error:  # names that are no text and versions to come among them
        raise DatasetError(f"{file}: cannot be read as a zip file: {error}") from None
    names = [name for name in members.names() if not _is_clutter(name)]
    for name in names:
        if _leads_out(name):
            raise DatasetError(f"{file}: refused, the name {name!r} leads out of the archive")
    if len(set(names)) < len(names):
        raise DatasetError(f"{file}: refused, two files in it have the same name")
    tables = [name for name in names if name.lower().endswith(".csv")]
    if len(tables) > 1:
        raise DatasetError(
            f"{file}: holds {len(tables)} tables ({', '.join(tables[:3])}); one only"
        )
    items = _listed(members, tables[0], file) if tables else _in_folders(names)
    if not items:
        raise DatasetError(f"{file}: holds no images")
    return Dataset(default_name(source), source, items, members, folders=not tables)


def _in_folders(names: list[str]) -> tuple[Item, ...]:
    images = sorted(name for name in names if is_image(name))
    if not images:
        return ()
    return tuple(
        Item(name, label, name) for name, label in zip(images, by_folders(images), strict=True)
    )


def _listed(members: Members, table: str, file: Path) -> tuple[Item, ...]:
    where = f"{file}: {table}"
    try:
        content = members.read(table, MOST_TABLE_BYTES)
    except BrokenImageError as error:
        raise DatasetError(f"{where}: {error}") from None
    rows = read_table(content, where)
    folder = PurePosixPath(table).parent
    return tuple(
        Item(name, row.label, (folder / row.file).as_posix())
        for name, row in zip(unique([row.file for row in rows]), rows, strict=True)
    )


def _is_clutter(name: str) -> bool:
    """What file managers leave in archives."""
    parts = PurePosixPath(name).parts
    return bool(parts) and (parts[0] == "__MACOSX" or parts[-1].startswith("."))


def _leads_out(name: str) -> bool:
    return (
        name.startswith("/")
        or "\\" in name
        or "\0" in name
        or _DRIVE.match(name) is not None
        or ".." in PurePosixPath(name).parts
    )
