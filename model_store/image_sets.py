"""The images that variants are made and proven with: those to calibrate on, and those held out.

No image is in both sets, or the proof would be about images that the variant was made for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_store.errors import SourceError
from model_store.original import Progress
from model_store.package import ImageInput
from model_store.reference import Pixels, image_files, reference_pixels, spread

# Ranges settle after some tens of images. A share of 0.97 wants hundreds to be told from 0.95.
MOST_CALIBRATION, MOST_HELD_OUT = 128, 512
# Neighbours by name are often alike (frames, crops of one photo). They stay on one side when a
# folder is cut in blocks of so many, and each block in two.
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Images prepared for the network, and which they are."""

    files: tuple[Path, ...]
    pixels: list[Pixels]
    digests: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """That of the sorted list of the images' own, in hex, a line each."""
        return hashlib.sha256("\n".join(sorted(self.digests)).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ImageSets:
    """What to calibrate on, and what to prove on."""

    calibration: ImageSet
    held_out: ImageSet


def read_image_sets(
    calibration: Path, held_out: Path | None, image: ImageInput, progress: Progress
) -> ImageSets:
    """Read both sets; without a folder of held-out images, half of the others are held out.

    Raises:
        SourceError: a folder is missing or empty, an image broken or in both sets.
    """
    made_with = _files(calibration, "calibration")
    if held_out is None:
        made_with, proven_on = split(made_with)
        if not proven_on:
            raise SourceError(
                f"{calibration}: holds one image; a second one, or --held-out-images, has to "
                "prove what was calibrated on the first"
            )
    else:
        proven_on = _files(held_out, "held-out")
    sets = ImageSets(
        _read(spread(made_with, MOST_CALIBRATION), image, "calibration images", progress),
        _read(spread(proven_on, MOST_HELD_OUT), image, "held-out images", progress),
    )
    _check_apart(sets)
    return sets


def split(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Files to calibrate on and files to hold out: the halves of each of several blocks by name."""
    first: list[Path] = []
    second: list[Path] = []
    for places in np.array_split(np.arange(len(files)), max(1, len(files) // _BLOCK)):
        block = [files[place] for place in places]
        middle = (len(block) + 1) // 2
        first += block[:middle]
        second += block[middle:]
    return first, second


def _files(folder: Path, what: str) -> list[Path]:
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of {what} images")
    found = image_files(folder)
    if not found:
        raise SourceError(f"{folder}: holds no {what} images")
    return found


def _read(files: Sequence[Path], image: ImageInput, what: str, progress: Progress) -> ImageSet:
    pixels, digests = [], []
    for number, file in enumerate(files):
        try:
            encoded = file.read_bytes()
            pixels.append(reference_pixels(encoded, image))
        except (OSError, SourceError) as error:
            raise SourceError(f"{file}: {error}") from error
        digests.append(hashlib.sha256(encoded).hexdigest())
        progress(what, number + 1, len(files))
    return ImageSet(tuple(files), pixels, tuple(digests))


def _check_apart(sets: ImageSets) -> None:
    made_with = dict(zip(sets.calibration.digests, sets.calibration.files, strict=True))
    for file, digest in zip(sets.held_out.files, sets.held_out.digests, strict=True):
        if digest in made_with:
            raise SourceError(
                f"{file}: is the same image as {made_with[digest]}; what is held out must not be "
                "calibrated on"
            )
