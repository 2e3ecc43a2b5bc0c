"""A folder of images to hold in memory: which files are taken, and under which names."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from model_store.errors import one_line
from predictor.errors import StartupError

ENCODED_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
PIXELS_SUFFIX = ".npy"
SUFFIXES = (*ENCODED_SUFFIXES, PIXELS_SUFFIX)
NPY_HEADERS = {  # by the format's version
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One file to be read: its name relative to the folder, where it really lies, its bytes."""

    name: str
    path: str
    size: int

    @property
    def holds_pixels(self) -> bool:
        """Whether it is an array, not an encoded image."""
        return self.name.lower().endswith(PIXELS_SUFFIX)


def image_files(folder: Path) -> list[ImageFile]:
    """Every image in ``folder`` and below it, by name; what is hidden or no regular file is not.

    Links are followed within the folder, as volumes made of ConfigMaps need it.

    Raises:
        StartupError: it cannot be read, a link leads out of it, or it holds no image.
    """
    try:
        root = os.path.realpath(folder, strict=True)
        found = sorted(_files(root, root, "", (root,)), key=lambda file: file.name)
    except OSError as error:
        reason = error.strerror or one_line(error)
        raise StartupError(f"preload: {error.filename or folder}: {reason}") from error
    if not found:
        raise StartupError(f"preload: {folder}: no image in it ({', '.join(SUFFIXES)})")
    return found


def _files(root: str, folder: str, prefix: str, above: tuple[str, ...]) -> Iterator[ImageFile]:
    """Those of one folder; ``above`` are the folders it is in, where a link may lead back to."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                real = _within(root, name, entry)
                if real not in above:
                    yield from _files(root, real, f"{name}/", (*above, real))
            elif name.lower().endswith(SUFFIXES):
                real = _within(root, name, entry)
                if entry.is_file():
                    yield ImageFile(_utf8(name), real, entry.stat().st_size)


def _within(root: str, name: str, entry: os.DirEntry[str]) -> str:
    """Where an entry of a folder within ``root`` really lies."""
    if not entry.is_symlink():
        return entry.path
    real = os.path.realpath(entry.path, strict=True)
    if os.path.commonpath((root, real)) != root:
        raise StartupError(f"preload: {name!r} is a link out of the folder, to {real!r}")
    return real


def _utf8(name: str) -> str:
    """``name``, if a client can write it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StartupError(f"preload: the name {name!r} is not UTF-8") from None
    return name


def pixels_within(name: str, size: int, file: BinaryIO) -> tuple[int, int, int]:
    """Where the pixels of a ``.npy`` file lie, read by its header and without pickle.

    Args:
        name: for the error.
        size: of the file, in bytes.
        file: at its beginning.

    Returns:
        Bytes of the header, and the pixels' height and width.

    Raises:
        StartupError: it is no uint8 (H, W, 3) in C order, or not as long as it says.
    """
    start = file.tell()
    try:
        shape, fortran, dtype = NPY_HEADERS[np.lib.format.read_magic(file)](file)
    # numpy's reader on broken bytes raises what it likes; it all means the same.
    except Exception as error:
        raise StartupError(f"preload: {name!r} is no .npy file: {one_line(error)}") from error
    header = file.tell() - start
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or fortran or min(shape) < 1:
        order = "Fortran" if fortran else "C"
        raise StartupError(
            f"preload: {name!r} holds {dtype} {list(shape)} in {order} order; "
            "pixels are uint8 [H, W, 3] in C order"
        )
    if header + math.prod(shape) != size:
        raise StartupError(
            f"preload: {name!r} should have {header + math.prod(shape)} bytes and has {size}"
        )
    return header, shape[0], shape[1]
