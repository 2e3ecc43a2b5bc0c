"""Encoded bytes or pixels of any size → the network's input: uint8 (H, W, 3) RGB.

The reference is Pillow's: full decode, upright by EXIF, RGB, antialiased resize of the whole
image, centre crop. Two things are done faster here:

- only the part of the resized image that survives the crop is computed (``resize`` with ``box``);
  rounding moves a value by two levels at most;
- with ``scaled=True`` a JPEG two and a half times as large as needed is decoded at 1/2, 1/4 or
  1/8 by the inverse transform itself (``draft``). Pixels then differ by a few levels; tests and
  ``benchmarks/RESULTS.md`` show that answers do not.

Pillow releases the interpreter lock while it decodes and resizes, so threads decode in parallel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageOps, UnidentifiedImageError

from model_store.package import ImageInput
from predictor.errors import BadImageError, ImageTooLargeError
from predictor.types import DecodeLimits, Image, Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
# How much larger than needed a JPEG must stay when it is decoded at a fraction of its size. With
# nothing to spare 4 of 480 photos changed their class, with this none did (benchmarks/RESULTS.md).
SPARE = 1.25
EXIF_ORIENTATION = 0x0112
UPRIGHT = 1
LYING = (5, 6, 7, 8)  # orientations that swap width and height
FILTERS = {
    "nearest": PillowImage.Resampling.NEAREST,
    "bilinear": PillowImage.Resampling.BILINEAR,
    "bicubic": PillowImage.Resampling.BICUBIC,
    "lanczos": PillowImage.Resampling.LANCZOS,
}
DEFAULT_LIMITS = DecodeLimits(max_pixels=50_000_000, min_side=2)

# Pillow's own guard only warns up to twice its limit; ours refuses, on the header, before decoding.
PillowImage.MAX_IMAGE_PIXELS = None


def decode(
    image: Image,
    target: ImageInput,
    limits: DecodeLimits = DEFAULT_LIMITS,
    *,
    scaled: bool = True,
) -> Pixels:
    """Prepare one image for the network that takes ``target``.

    Args:
        image: an encoded file (JPEG, PNG, WebP, BMP, first frame of a GIF), or uint8 (h, w, 3).
        target: the size wanted and how to get there.
        limits: bounds on the image's own size.
        scaled: let large JPEGs be decoded at a fraction of their size.

    Returns:
        uint8 (target.height, target.width, 3), RGB. May be read-only.

    Raises:
        BadImageError: broken, truncated, too large, too small or of an unknown format.
    """
    if isinstance(image, np.ndarray):
        _check_size(image.shape[1], image.shape[0], limits)
        if image.shape == target.shape:
            return image
        whole = PillowImage.fromarray(image)
        return np.asarray(_fit(whole, whole.size, 1, target))
    return _read(image, limits, lambda opened: _decoded(opened, target, scaled))


def decode_whole(image: Image, limits: DecodeLimits = DEFAULT_LIMITS) -> Pixels:
    """The image as it is, upright and RGB: what ``decode`` resizes.

    Returns:
        uint8 (h, w, 3), of the image's own size. May be read-only.

    Raises:
        BadImageError: as ``decode``.
    """
    if isinstance(image, np.ndarray):
        _check_size(image.shape[1], image.shape[0], limits)
        return image
    return _read(image, limits, lambda opened: np.asarray(_rgb(ImageOps.exif_transpose(opened))))


def _read(
    image: bytes | memoryview,
    limits: DecodeLimits,
    pixels: Callable[[PillowImage.Image], Pixels],
) -> Pixels:
    """Open an encoded image, look at its size, and let ``pixels`` decode it."""
    if len(image) == 0:
        raise BadImageError("the image is empty (zero bytes)")
    try:
        with PillowImage.open(io.BytesIO(image), formats=FORMATS) as opened:
            _check_size(opened.width, opened.height, limits)
            return pixels(opened)
    except BadImageError:
        raise
    except UnidentifiedImageError:
        raise BadImageError(f"not an image in a known format ({', '.join(FORMATS)})") from None
    # A decoder on hostile bytes raises whatever it likes (SyntaxError, struct.error, KeyError, …);
    # all of it means the same: this image is broken.
    except Exception as error:  # noqa: BLE001 (says why above)
        raise BadImageError(f"the image cannot be decoded: {error}") from None


def _check_size(width: int, height: int, limits: DecodeLimits) -> None:
    if min(width, height) < limits.min_side:
        raise BadImageError(
            f"the image is {width}x{height}; each side must be at least {limits.min_side} pixels"
        )
    if width * height > limits.max_pixels:
        raise ImageTooLargeError(
            f"the image is {width}x{height} = {width * height} pixels; "
            f"the limit is {limits.max_pixels}"
        )


def _decoded(opened: PillowImage.Image, target: ImageInput, scaled: bool) -> Pixels:
    width, height = opened.size
    shrunk = _shrink_on_load(opened, target) if scaled else 1
    image: PillowImage.Image = opened
    orientation = opened.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    if orientation != UPRIGHT:
        image = ImageOps.exif_transpose(opened)
    if orientation in LYING:
        width, height = height, width
    return np.asarray(_fit(_rgb(image), (width, height), shrunk, target))


def least_side(target: ImageInput) -> int:
    """Pixels that a JPEG's sides must keep when it is decoded at a fraction of its size."""
    return math.ceil(SPARE * (target.resize.size or max(target.height, target.width)))


def _shrink_on_load(image: PillowImage.Image, target: ImageInput) -> float:
    """Let a JPEG decode at 1, 1/2, 1/4 or 1/8 of its size, never below what the resize needs.

    Returns:
        How many of the file's pixels one decoded pixel stands for, along each side.
    """
    if image.format not in ("JPEG", "MPO"):
        return 1
    width, height = image.size
    # draft takes the strongest reduction that keeps this size; square, since EXIF may turn it.
    least = least_side(target)
    image.draft(None, (least, least))
    fits = (s for s in (1, 2, 4, 8) if image.size == (-(-width // s), -(-height // s)))
    return next(fits)


def _rgb(image: PillowImage.Image) -> PillowImage.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):  # 16-bit grey: Pillow's convert would clip, not scale
        levels = np.asarray(image).astype(np.uint16) >> 8
        image = PillowImage.fromarray(levels.astype(np.uint8), "L")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the way Pillow asks for; straight to RGB it warns
    return image.convert("RGB")


def _fit(
    image: PillowImage.Image, size: tuple[int, int], shrunk: float, target: ImageInput
) -> PillowImage.Image:
    """Resize ``image``, whose file is ``size`` (width, height) large and was decoded ``shrunk``."""
    resize = target.resize
    wanted = (target.width, target.height)
    box = (0.0, 0.0, float(size[0]), float(size[1]))
    if resize.policy == "letterbox":
        scale = min(target.width / size[0], target.height / size[1])
        wanted = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    elif resize.size is not None:
        box = _crop_box(size, target, resize.size)
    if image.size != wanted or box[2:] != wanted:
        within = (box[0] / shrunk, box[1] / shrunk, box[2] / shrunk, box[3] / shrunk)
        image = image.resize(wanted, FILTERS[resize.interpolation], within)
    if wanted == (target.width, target.height):
        return image
    padded = PillowImage.new("RGB", (target.width, target.height), resize.fill)
    corner = ((target.width - wanted[0]) // 2, (target.height - wanted[1]) // 2)
    padded.paste(image, corner)
    return padded


def _crop_box(
    size: tuple[int, int], target: ImageInput, side: int
) -> tuple[float, float, float, float]:
    """The centre crop of an image resized to ``side`` on its shortest side, in its own pixels."""
    width, height = size
    if width <= height:
        resized_width, resized_height = side, int(side * height / width)
    else:
        resized_width, resized_height = int(side * width / height), side
    left = round((resized_width - target.width) / 2.0)
    top = round((resized_height - target.height) / 2.0)
    x, y = width / resized_width, height / resized_height
    right = min((left + target.width) * x, width)  # min: rounding must not step outside
    bottom = min((top + target.height) * y, height)
    return (left * x, top * y, right, bottom)
