"""Images that a pod holds in memory, for requests that name them instead of sending them.

The supervisor reads a folder once, before it starts a process, into an anonymous file that is then
sealed: nobody can write to it any more. Every frontend maps it, so the images are in memory once,
and what is decoded is the file as it was read, whatever becomes of it on the disk::

    files, each at a multiple of ALIGNMENT | places | listing | names | TAIL
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from predictor.errors import BadImageError, StartupError, echo
from predictor.image_folder import ImageFile, image_files, pixels_within
from predictor.slab import aligned, reserve
from predictor.types import Image

logger = logging.getLogger(__name__)

TAIL = struct.Struct("<QQQ")  # how many images, bytes of the listing, bytes of the names
CHUNK_BYTES = 1024 * 1024
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Preloaded:
    """The preloaded images of a pod, mapped into this process for reading.

    Args:
        fd: what ``preload`` gave; None for a pod that preloads nothing.

    Attributes:
        listing: ``{"images": [{"name", "bytes", "sha256"}, …], "count", "bytes"}`` as JSON.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.listing: bytes | memoryview = _listing((), ())
        self._rows: dict[str, int] = {}
        if fd is None:
            return
        # Private, since kernels before 6.7 refuse to share what is sealed, if only for reading;
        # pages that are not written to are the same ones all the same.
        mapping = mmap.mmap(fd, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
        self._memory = memoryview(mapping)
        end = len(mapping) - TAIL.size
        count, listing, names = TAIL.unpack_from(mapping, end)
        self.listing = self._memory[end - names - listing : end - names]
        # int64 (n, 4): where a file's image begins, its bytes, height and width (0: it is encoded)
        self._places: NDArray[np.int64] = np.frombuffer(
            mapping, np.int64, 4 * count, end - names - listing - 32 * count
        ).reshape(count, 4)
        self._rows = {name: row for row, name in enumerate(json.loads(mapping[end - names : end]))}

    def image(self, name: str) -> Image | BadImageError:
        """The image of that name, where it lies, or why there is none; a name is no path."""
        row = self._rows.get(name)
        if row is None:
            if not self._rows:
                return BadImageError("this pod has preloaded no images (--preload)")
            return BadImageError(f"no preloaded image {echo(name)}")
        start, size, height, width = self._places[row].tolist()
        encoded = self._memory[start : start + size]
        if not height:
            return encoded
        return np.frombuffer(encoded, np.uint8).reshape(height, width, 3)


def preload(folder: Path, max_bytes: int, wanted: Callable[[], bool]) -> int:
    """Read all images in and below ``folder`` into memory; returns its file descriptor.

    Args:
        folder: of images.
        max_bytes: most bytes of all files together.
        wanted: asked again and again: is there still a pod to do it for?

    Raises:
        StartupError: the folder, or a file in it, cannot be taken; one line that says why.
    """
    files = image_files(folder)
    total = sum(file.size for file in files)
    if total > max_bytes:
        raise StartupError(
            f"preload: {folder}: {len(files)} images of {total} bytes in all; "
            f"the limit is {max_bytes} (preload_max_bytes)"
        )
    logger.info("preloading %d images of %d bytes from %s", len(files), total, folder)
    began_s = time.monotonic()
    fd = -1
    try:
        fd = reserve("millrace-preloaded", sum(aligned(file.size) for file in files), sealable=True)
        with os.fdopen(fd, "r+b", closefd=False) as memory:
            _fill(memory, files, wanted)
        _seal(fd)
    except BaseException as error:
        if fd >= 0:
            os.close(fd)
        if isinstance(error, OSError):
            name = error.filename or folder
            raise StartupError(f"preload: {name}: {error.strerror or error}") from error
        raise
    taken_s = time.monotonic() - began_s
    logger.info("preloaded %d images, %d bytes, in %.2f s", len(files), total, taken_s)
    return fd


def _fill(memory: BinaryIO, files: Sequence[ImageFile], wanted: Callable[[], bool]) -> None:
    places: list[tuple[int, int, int, int]] = []
    digests = []
    start = 0
    for file in files:
        memory.seek(start)
        digests.append(_copy(file, memory, wanted))
        header = height = width = 0
        if file.holds_pixels:
            memory.seek(start)
            header, height, width = pixels_within(file.name, file.size, memory)
        places.append((start + header, file.size - header, height, width))
        start += aligned(file.size)
    listing = _listing(files, digests)
    names = json.dumps([file.name for file in files]).encode()
    memory.seek(start)
    memory.write(np.array(places, np.int64).tobytes())
    memory.write(listing)
    memory.write(names)
    memory.write(TAIL.pack(len(files), len(listing), len(names)))


def _copy(file: ImageFile, memory: BinaryIO, wanted: Callable[[], bool]) -> str:
    """Copy a file to where ``memory`` stands; returns its SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    left = file.size
    with os.fdopen(os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        while left >= 0 and (chunk := source.read(CHUNK_BYTES)):
            if not wanted():
                raise StartupError("preload: told to stop")
            left -= len(chunk)
            if left >= 0:
                digest.update(chunk)
                memory.write(chunk)
    if left:
        raise StartupError(f"preload: {file.name!r} changed while it was read")
    return digest.hexdigest()


def _listing(files: Sequence[ImageFile], digests: Sequence[str]) -> bytes:
    images = [
        {"name": file.name, "bytes": file.size, "sha256": digest}
        for file, digest in zip(files, digests, strict=True)
    ]
    total = sum(file.size for file in files)
    content = {"images": images, "count": len(images), "bytes": total}
    return json.dumps(content, ensure_ascii=False).encode()


def _seal(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except OSError as error:  # a sandbox whose kernel knows no seals; it is mapped to be read only
        logger.warning("preloaded images cannot be sealed against writing: %s", error.strerror)
