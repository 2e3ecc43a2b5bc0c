"""What is sent: images read once into memory, or the names of images that the pod itself holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadgen.errors import LoadError

ENCODED_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
PIXELS_SUFFIX = ".npy"

Pixels = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]  # (H, W, 3)


@dataclass(frozen=True, slots=True)
class Right:
    """The answers that are right for an image: a class index among these, or a label."""

    indices: frozenset[int] = frozenset()
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One image to ask about.

    Attributes:
        name: for reports; of an image that the pod holds, its name there.
        content: an encoded image, or pixels, or None for one that the pod holds.
        right: what answers are right; None where nobody knows.
    """

    name: str
    content: bytes | Pixels | None = field(repr=False)
    right: Right | None = None


def read_images(paths: Iterable[Path]) -> tuple[Image, ...]:
    """Read files, and the images in folders at any depth, in the order of their names.

    Encoded images are sent as they are, ``.npy`` files of uint8 (H, W, 3) as pixels.

    Raises:
        LoadError: a path cannot be read or holds no image.
    """
    return tuple(_read(file) for path in paths for file in _files(path))


def held_images(names: Sequence[str]) -> tuple[Image, ...]:
    """Images that the pod holds, by their names there."""
    return tuple(Image(name, None) for name in names)


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    wanted = (*ENCODED_SUFFIXES, PIXELS_SUFFIX)
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in wanted)
    if not found:
        raise LoadError(f"{path} holds no image: looked for {' '.join(wanted)}")
    return found


def _read(file: Path) -> Image:
    try:
        if file.suffix.lower() == PIXELS_SUFFIX:
            return Image(str(file), _pixels(file))
        content = file.read_bytes()
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise LoadError(f"cannot read image {file}: {_reason(error)}") from None
    if not content:
        raise LoadError(f"cannot read image {file}: it is empty")
    return Image(str(file), content)


def _pixels(file: Path) -> Pixels:
    pixels = np.load(file, allow_pickle=False)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise LoadError(
            f"cannot send {file}: pixels must be uint8 (H, W, 3), "
            f"not {pixels.dtype} {list(pixels.shape)}"
        )
    whole: Pixels = np.ascontiguousarray(pixels)
    return whole


def _reason(error: Exception) -> str:
    return (
        (error.strerror if isinstance(error, OSError) else None)
        or str(error)
        or type(error).__name__
    )
