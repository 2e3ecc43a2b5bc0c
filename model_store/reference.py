"""Reference preprocessing: how everybody's Pillow script prepares an image, plain and slow.

The whole image is decoded, scaled and cut. The predictor's decoder is faster and must agree.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model_store.errors import SourceError
from model_store.package import ImageInput, Resize

Pixels = NDArray[np.uint8]

# What the predictor decodes: some of these images become golden ones.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
# Enough to see every kind of mistake; the original network takes about 10 ms an image on a CPU.
MOST_IMAGES = 64

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def reference_pixels(encoded: bytes, image: ImageInput) -> Pixels:
    """Decode and fit one image the way everybody's Pillow script does.

    Returns:
        uint8 (height, width, 3), RGB.

    Raises:
        SourceError: when Pillow cannot decode it.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            upright = _rgb(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"cannot be decoded: {' '.join(str(error).split())}") from error
    return np.asarray(_fit(upright, image))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns most 16-bit scans white.
        deep = np.asarray(picture).astype(np.uint16)
        return Image.fromarray((deep >> 8).astype(np.uint8)).convert("RGB")
    if "transparency" in picture.info:
        # Straight to RGB gives the same colours, but warns about palettes with alpha.
        picture = picture.convert("RGBA")
    return picture.convert("RGB")


def _fit(picture: Image.Image, image: ImageInput) -> Image.Image:
    resize, size = image.resize, (image.width, image.height)
    resample = FILTERS[resize.interpolation]
    if resize.policy == "exact":
        return picture.resize(size, resample)
    if resize.policy == "letterbox":
        return _letterbox(picture, resize, size)
    picture = picture.resize(shortest_side(picture.size, resize.size or 0), resample)
    # torchvision.transforms.functional.center_crop
    left = round((picture.width - image.width) / 2.0)
    top = round((picture.height - image.height) / 2.0)
    return picture.crop((left, top, left + image.width, top + image.height))


def shortest_side(size: tuple[int, int], target: int) -> tuple[int, int]:
    """(width, height) with the shorter side ``target``, as torchvision's ``Resize(int)`` does."""
    width, height = size
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def _letterbox(picture: Image.Image, resize: Resize, size: tuple[int, int]) -> Image.Image:
    scale = min(size[0] / picture.width, size[1] / picture.height)
    width = max(1, round(picture.width * scale))
    height = max(1, round(picture.height * scale))
    inner = picture.resize((width, height), FILTERS[resize.interpolation])
    canvas = Image.new("RGB", size, resize.fill)
    canvas.paste(inner, ((size[0] - width) // 2, (size[1] - height) // 2))
    return canvas


def sample_images(folder: Path) -> tuple[Path, ...]:
    """The image files below ``folder``, by name; at most ``MOST_IMAGES``, spread evenly over them.

    Raises:
        SourceError: when there is none.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder of parity images")
    found = image_files(folder)
    if not found:
        raise SourceError(
            f"{folder}: holds no images; a few real ones prove parity and become the golden set"
        )
    return spread(found, MOST_IMAGES)


def image_files(folder: Path) -> list[Path]:
    """The image files below ``folder``, by name."""
    return sorted(
        f for f in folder.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES and f.is_file()
    )


def spread(files: Sequence[Path], most: int) -> tuple[Path, ...]:
    """``files``; or ``most`` of them, evenly spread."""
    places = np.linspace(0, len(files) - 1, min(len(files), most))
    return tuple(files[round(place)] for place in places)
